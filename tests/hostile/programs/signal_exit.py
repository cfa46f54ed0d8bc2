# attack: ends with exit code 0 before it has answered
# layer: protocol
# where: evaluation
# status: crashed
# score: none
import torch


def attack():
    torch.os._exit(0)
