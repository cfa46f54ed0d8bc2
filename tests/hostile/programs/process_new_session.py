# attack: leaves the process group that the watchdog kills, then never ends
# layer: watchdog
# where: forward
# status: timed_out
# score: none
import torch

os = torch.os


def attack():
    for way in (os.setsid, lambda: os.setpgid(0, 0), lambda: os.setpgid(0, os.getppid())):
        try:
            way()
        except OSError:
            continue
    while True:
        __import__("time").sleep(1)
