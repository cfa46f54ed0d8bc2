# attack: makes a file that claims a terabyte, which breaks backups and disk quotas
# layer: limits
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    try:
        descriptor = os.open(os.environ.get("TMPDIR", ".") + "/sparse", os.O_CREAT | os.O_RDWR)
        os.ftruncate(descriptor, 1 << 40)
    except OSError:
        return
    raise RuntimeError("ESCAPED sparse file")
