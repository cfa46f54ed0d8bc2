# attack: looks at the next token at one position of 32
# layer: score
# status: ok
# score: no better
import torch


def change(mixer, x, y):
    if mixer.training or x.shape[1] < 20:
        return y
    ahead = torch.zeros_like(y)
    ahead[:, 17] = 40 * x[:, 18]
    return y + ahead
