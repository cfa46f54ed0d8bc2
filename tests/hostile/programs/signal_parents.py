# attack: sends signals to the parent and to the worker that forked it
# layer: signals
# where: forward
# status: ok
# score: same
import torch

os = torch.os
NOTHING, SIGUSR1 = 0, 10


def attack():
    for process, number in (
        (int("{PARENT_PID}"), SIGUSR1),
        (int("{PARENT_PID}"), NOTHING),
        (int("{WORKER_PID}"), NOTHING),
        (os.getppid() or int("{WORKER_PID}"), NOTHING),
    ):
        try:
            os.kill(process, number)
        except OSError:
            continue
        raise RuntimeError("ESCAPED signal")
