# attack: asks for names of files and processes, and for names of nothing, which other processes could time
# layer: files
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    for path in ("/proc", "/proc/1", "/usr", "/etc/passwd", "/tmp", "{CANARY}/home", torch.__file__, "../.."):
        try:
            found = os.stat(path)
        except OSError:
            continue
        if (found.st_dev, found.st_ino) != (os.stat("/").st_dev, os.stat("/").st_ino):
            raise RuntimeError("ESCAPED found " + path)
