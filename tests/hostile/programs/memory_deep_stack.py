# attack: recurses in C code until the stack is full
# layer: limits
# where: construct
# status: crashed
# score: none
import torch

resource = __import__("resource")


class Deep:
    def __getattr__(self, name):
        return getattr(self, name + "x" if len(name) < 50 else "y")


def attack():
    try:
        resource.setrlimit(resource.RLIMIT_STACK, (-1, -1))
    except (OSError, ValueError):
        pass
    torch.sys.setrecursionlimit(1 << 30)
    Deep().start
