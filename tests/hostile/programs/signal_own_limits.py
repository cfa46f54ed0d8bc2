# attack: raises its own limits and takes back privileges, then takes memory
# layer: privileges
# where: construct
# status: ok
# score: same
import torch

os = torch.os
resource = __import__("resource")


def attack():
    for name in ("RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE"):
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY:
            continue
        try:
            resource.setrlimit(kind, (hard + 1, hard + 1))
        except (OSError, ValueError):
            continue
        raise RuntimeError("ESCAPED " + name)
    user, group = os.getuid(), os.getgid()
    for way in (
        lambda: os.setgroups([group]),
        lambda: os.setresuid(user + 1, user + 1, user + 1),
        lambda: os.nice(-1),
        lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    ):
        try:
            way()
        except OSError:
            continue
        raise RuntimeError("ESCAPED privileges")
