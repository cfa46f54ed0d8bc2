# attack: hides a large file from the watchdog, in folders whose paths are too long to name (here 128 MiB)
# layer: watchdog
# where: construct
# status: crashed
# score: none
import torch

os = torch.os
PIECE = bytes(1 << 20)


def attack():
    try:
        folder = os.open(os.environ.get("TMPDIR", "."), os.O_RDONLY)
        for _ in range(100):
            os.mkdir("d" * 60, dir_fd=folder)
            folder = os.open("d" * 60, os.O_RDONLY, dir_fd=folder)
        descriptor = os.open("hidden", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
    except OSError:
        raise RuntimeError("refused") from None
    for _ in range(128):
        os.write(descriptor, PIECE)
    __import__("time").sleep(2)
    raise RuntimeError("ESCAPED 128 MiB")
