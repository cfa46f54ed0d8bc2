# attack: stops itself, so that whoever waits for its answer waits for ever
# layer: watchdog
# where: backward
# status: timed_out
# score: none
import torch

os = torch.os


def attack():
    os.kill(os.getpid(), 19)
    __import__("time").sleep(600)
