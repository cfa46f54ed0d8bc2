# attack: closes every descriptor that it inherited
# layer: protocol
# where: forward
# status: crashed
# score: none
import torch


def attack():
    torch.os.closerange(3, 256)
