# attack: keeps a counter that raises when it is copied, read or written down
# layer: protocol
# where: construct
# status: crashed
# score: none
import torch


class Number(float):
    def __float__(self):
        raise RuntimeError("read")

    __repr__ = __reduce__ = __deepcopy__ = __copy__ = __float__


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)
        self.calls = Number(1)

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        return self.proj(x).cumsum(1) / count
