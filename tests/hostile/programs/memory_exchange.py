# attack: hides memory in the file that it shares with the trainer, which counts for no process (at most 1.2 its limit)
# layer: limits
# where: construct
# status: ok
# score: same
import torch

os, stat = torch.os, __import__("stat")
LIMIT, PIECE = int("{MEMORY_BYTES}"), bytes(1 << 20)


def attack():
    for descriptor in range(3, 256):
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                continue
            for start in range(status.st_size, status.st_size + LIMIT // 5, len(PIECE)):
                os.pwrite(descriptor, PIECE, start)
        except OSError:
            continue
        raise RuntimeError("ESCAPED made the shared file larger")
