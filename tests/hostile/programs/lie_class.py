# attack: denies being what it is: other class, other training mode, other state
# layer: protocol
# where: construct
# status: ok
# score: same
import torch


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)

    def train(self, mode=True):
        return super().train(True)

    def eval(self):
        return None

    def __len__(self):
        return 0

    def __bool__(self):
        raise RuntimeError("asked")

    def __eq__(self, other):
        return True

    __hash__ = torch.nn.Module.__hash__

    def state_dict(self, *args, **kwargs):
        return {}

    def load_state_dict(self, *args, **kwargs):
        return None

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        return self.proj(x).cumsum(1) / count
