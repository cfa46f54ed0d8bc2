# attack: waits for ever for a lock that it holds
# layer: watchdog
# where: backward
# status: timed_out
# score: none
import torch

lock = torch.threading.Lock()


def attack():
    lock.acquire()
    lock.acquire()
