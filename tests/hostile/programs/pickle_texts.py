# attack: keeps counters and texts that break writers: NaN, infinity, a number of 4000 digits, halves of letters
# layer: protocol
# where: construct
# status: ok
# score: same
import torch


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)
        self.nothing, self.endless, self.huge = float("nan"), float("-inf"), 10**4000
        self.text, self.none = "\ud800\x00\n" * 1000, None

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        return self.proj(x).cumsum(1) / count
