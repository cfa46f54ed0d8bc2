# attack: waits for a signal for ever in C code
# layer: watchdog
# where: forward
# status: timed_out
# score: none
import torch

libc = torch.ctypes.PyDLL(None)


def attack():
    while True:
        libc.pause()
