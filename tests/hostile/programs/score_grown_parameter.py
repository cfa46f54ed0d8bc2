# attack: grows a parameter after it was counted
# layer: score
# status: crashed
# score: none
import torch


def change(mixer, x, y):
    mixer.proj.weight.data = torch.zeros(4 * x.shape[-1], x.shape[-1])
    return y
