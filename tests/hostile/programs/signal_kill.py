# attack: kills a bystander, alone and by its process group
# layer: signals
# where: construct
# status: ok
# score: same
import torch

os = torch.os
VICTIM = int("{VICTIM_PID}")


def attack():
    for number in (15, 9):
        for kill in (os.kill, os.killpg):
            try:
                kill(VICTIM, number)
            except OSError:
                continue
