# attack: floods standard output and standard error (here with 512 MiB)
# layer: protocol
# where: construct
# status: ok
# score: same
import torch

os = torch.os
PIECE = b"ESCAPED " * (1 << 17)


def attack():
    for descriptor in (1, 2):
        try:
            for _ in range(256):
                os.write(descriptor, PIECE)
        except OSError:
            continue
    print("ESCAPED", flush=True)
