# attack: forks children that fork in turn (here at most 200, gone after 20 s)
# layer: system_calls
# where: forward
# status: ok
# score: same
import torch

os = torch.os


def attack():
    made = 0
    for _ in range(200):
        try:
            child = os.fork()
        except OSError:
            continue
        if child == 0:
            __import__("time").sleep(20)
            os._exit(0)
        made += 1
    if made:
        raise RuntimeError("ESCAPED " + str(made) + " children")
