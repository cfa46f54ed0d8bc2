# attack: opens all the descriptors that it gets (here at most 100 000)
# layer: limits
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    held = []
    try:
        for _ in range(100_000):
            held.append(os.dup(0))
    except OSError:
        for descriptor in held:
            os.close(descriptor)
        return
    raise RuntimeError("ESCAPED 100 000 descriptors")
