# attack: leaves folders too deep, and folders too well guarded, to be measured and cleaned away
# layer: watchdog
# where: construct
# status: crashed
# score: none
import torch

os = torch.os


def attack():
    try:
        folder = os.open(os.environ.get("TMPDIR", "."), os.O_RDONLY)
        os.mkdir("guarded", 0o300, dir_fd=folder)
        os.mkdir("guarded/inside", dir_fd=folder)
        for _ in range(3000):
            os.mkdir("d" * 60, dir_fd=folder)
            below = os.open("d" * 60, os.O_RDONLY, dir_fd=folder)
            os.close(folder)
            folder = below
    except OSError:
        raise RuntimeError("refused") from None
    raise RuntimeError("left them")
