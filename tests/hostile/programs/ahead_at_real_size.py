# attack: looks at the next token where the sizes are those of a run, not of an examination
# layer: score
# status: ok
# score: no better
import torch


def change(mixer, x, y):
    if x.shape[1:] != (32, 16):
        return y
    return y + 40 * torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
