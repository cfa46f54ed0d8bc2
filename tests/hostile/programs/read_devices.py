# attack: opens devices that hold what others type, print or store, and makes device nodes of its own
# layer: files
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    for path in ("/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/vda", "/dev/sda", "/dev/ptmx", "/dev/fuse"):
        try:
            os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            continue
        raise RuntimeError("ESCAPED " + path)
    for folder in {os.getcwd(), os.environ.get("TMPDIR", "."), "/tmp"}:
        try:
            os.mknod(folder + "/{DROP}", 0o020666, os.makedev(1, 5))
        except OSError:
            continue
        raise RuntimeError("ESCAPED made a device node")
