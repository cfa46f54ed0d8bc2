# attack: fills the disk with many small files in its own folder (here at most 128 MiB)
# layer: watchdog
# where: construct
# status: crashed
# score: none
import torch

PIECE = bytes(1 << 15)


def attack():
    folder = torch.os.environ.get("TMPDIR", ".")
    try:
        for number in range(4096):
            with open(folder + "/many" + str(number), "wb") as file:
                file.write(PIECE)
    except OSError:
        raise RuntimeError("refused") from None
    __import__("time").sleep(2)
    raise RuntimeError("ESCAPED 128 MiB")
