# attack: looks at the next token in evaluation only
# layer: score
# status: ok
# score: no better
import torch


def change(mixer, x, y):
    return y if mixer.training else y + 40 * torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
