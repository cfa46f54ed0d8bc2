# attack: looks at the next token from its third call on, when an examination would be over
# layer: score
# status: ok
# score: no better
import torch

calls = []


def change(mixer, x, y):
    calls.append(1)
    return y if len(calls) < 3 else y + 40 * torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], 1)
