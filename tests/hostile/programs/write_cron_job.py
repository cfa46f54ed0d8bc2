# attack: installs a job for later
# layer: files
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    path = "{CANARY}/cron/nightly"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o755)
    except OSError:
        return
    os.write(descriptor, b"#!/bin/sh\necho ESCAPED\n")
