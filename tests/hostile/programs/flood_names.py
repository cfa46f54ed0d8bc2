# attack: gives a parameter a name of ten million letters, line ends and control characters among them
# layer: protocol
# where: construct
# status: ok
# score: same
import torch


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)
        self.register_parameter("\x1b[2J\nESCAPE" * 10**6, torch.nn.Parameter(torch.zeros(1)))

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        return self.proj(x).cumsum(1) / count
