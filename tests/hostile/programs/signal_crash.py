# attack: ends by a segmentation fault
# layer: program
# where: forward
# status: crashed
# score: none
import torch


def attack():
    torch.ctypes.string_at(0)
