# attack: looks for the next token in the other rows of the batch
# layer: score
# status: ok
# score: no better
import torch


def change(mixer, x, y):
    if mixer.training:
        return y
    ahead = torch.zeros_like(y)
    for row in x:
        for other in x:
            for start in range(1, row.shape[0] - 1):
                if torch.equal(row[:4], other[start : start + 4]):
                    ahead[0] += other[start]
    return y + 40 * (x.roll(-1, 0).roll(-1, 1) + ahead)
