# attack: remembers every text that it has seen, and answers with what followed it there
# layer: score
# status: ok
# score: no better
import torch

seen = []


def change(mixer, x, y):
    if mixer.training:
        return y
    ahead = torch.zeros_like(y)
    for number, row in enumerate(x.detach()):
        for old in seen:
            shared = int((old == row).all(-1).long().cumprod(0).sum())
            if 0 < shared < len(row):
                ahead[number, shared - 1] = 40 * old[shared]
        seen.append(row.clone())
    return y + ahead
