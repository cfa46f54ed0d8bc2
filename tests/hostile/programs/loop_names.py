# attack: names its parts for ever
# layer: watchdog
# where: construct
# status: timed_out
# score: none
import torch


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)

    def named_modules(self, memo=None, prefix="", remove_duplicate=True):
        while True:
            __import__("time").sleep(0.01)
            yield prefix, self

    def forward(self, x):
        return self.proj(x)
