# attack: declares that it has no parameters
# layer: score
# where: construct
# status: ok
# score: no better
import torch


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)

    def named_parameters(self, *args, **kwargs):
        return iter(())

    def parameters(self, recurse=True):
        return iter(())

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        return 5 * self.proj(x).cumsum(1) / count
