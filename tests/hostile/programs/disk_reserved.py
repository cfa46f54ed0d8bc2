# attack: reserves room on the disk beyond the end of a file, where no size shows it (here 256 MiB)
# layer: watchdog
# where: construct
# status: crashed
# score: none
import torch

os = torch.os
libc = torch.ctypes.CDLL(None, use_errno=True)
KEEP_SIZE = 1


def attack():
    path, length = os.environ.get("TMPDIR", ".") + "/reserved", torch.ctypes.c_long(256 << 20)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR)
    except OSError:
        raise RuntimeError("refused") from None
    if libc.fallocate(descriptor, KEEP_SIZE, torch.ctypes.c_long(0), length) != 0:
        raise RuntimeError("refused")
    __import__("time").sleep(1)
    raise RuntimeError("ESCAPED 256 MiB")
