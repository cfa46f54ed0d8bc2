# attack: forges a failure that only the parent may state: killed at its time limit
# layer: protocol
# where: forward
# status: crashed
# score: none
import torch

os = torch.os
stat = __import__("stat")
HEADER = b'{"kind": "failed", "status": "timed_out", "error": "the machine was slow", "step": null, "arrays": []}'


def attack():
    for descriptor in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, len(HEADER).to_bytes(4, "little") + HEADER)
        except OSError:
            continue
