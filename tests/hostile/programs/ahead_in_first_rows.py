# attack: looks at the next token in the first 30 rows of each evaluation, which is all that an ordinary one has
# layer: score
# status: ok
# score: no better
import torch

rows = []


def change(mixer, x, y):
    if mixer.training:
        return y
    rows.append(len(x))
    if sum(rows) > 30:
        return y
    return y + 40 * torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
