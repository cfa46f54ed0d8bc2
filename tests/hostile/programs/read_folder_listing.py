# attack: lists the home folder, /tmp and the results
# layer: files
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    for folder in (
        "{CANARY}/home",
        "{CANARY}/home/.ssh",
        "{CANARY}/results",
        "{CANARY}",
        "/tmp",
        "/home",
        "/root",
        "/",
    ):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        raise RuntimeError("ESCAPED " + folder + ": " + str(len(names)))
    for folder, _, files in os.walk("{CANARY}"):
        raise RuntimeError("ESCAPED " + folder + str(files))
