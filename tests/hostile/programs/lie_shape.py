# attack: answers outputs of one position more
# layer: protocol
# status: crashed
# score: none
import torch


def change(mixer, x, y):
    return torch.cat([y, y[:, :1]], 1)
