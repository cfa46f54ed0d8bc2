# attack: hides parameters in a list, where nobody counts them, and trains them itself
# layer: score
# status: ok
# score: no better
import torch

hidden = [torch.zeros(16, requires_grad=True)]


def change(mixer, x, y):
    if hidden[0].grad is not None:
        with torch.no_grad():
            hidden[0] -= 0.5 * hidden[0].grad
        hidden[0].grad = None
    return y + hidden[0][: x.shape[-1]]
