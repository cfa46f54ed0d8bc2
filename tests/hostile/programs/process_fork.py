# attack: forks a child that outlives it
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    try:
        child = os.fork()
    except OSError:
        return
    if child == 0:
        __import__("time").sleep(20)
        os._exit(0)
    raise RuntimeError("ESCAPED fork")
