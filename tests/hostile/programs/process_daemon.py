# attack: leaves a daemon behind (double fork, own session; here it ends after 20 s)
# layer: system_calls
# where: evaluation
# status: ok
# score: same
import torch

os = torch.os


def attack():
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                __import__("time").sleep(20)
            os._exit(0)
    except OSError:
        return
