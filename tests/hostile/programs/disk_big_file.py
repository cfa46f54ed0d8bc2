# attack: fills the disk with one file in its own folder (here at most 1 GiB)
# layer: watchdog
# where: forward
# status: crashed
# score: none
import torch

PIECE = bytes(1 << 20)


def attack():
    try:
        with open(torch.os.environ.get("TMPDIR", ".") + "/big", "wb") as file:
            for _ in range(1024):
                file.write(PIECE)
    except OSError:
        __import__("time").sleep(1)
        raise RuntimeError("refused") from None
    raise RuntimeError("ESCAPED 1 GiB")
