# attack: leaves its view of the files by chroot and by namespaces of its own
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

os = torch.os
libc = torch.ctypes.CDLL(None, use_errno=True)
NAMESPACES = {"mount": 0x00020000, "user": 0x10000000, "network": 0x40000000, "ipc": 0x08000000, "pid": 0x20000000}


def attack():
    for name, flag in NAMESPACES.items():
        if libc.syscall(int("{SYS_unshare}"), flag) == 0:
            raise RuntimeError("ESCAPED unshare " + name)
    descriptor = libc.syscall(int("{SYS_pidfd_open}"), int("{PARENT_PID}"), 0)
    if descriptor >= 0 and libc.syscall(int("{SYS_setns}"), descriptor, 0x00020000) == 0:
        raise RuntimeError("ESCAPED setns")
    try:
        os.chroot("/")
    except OSError:
        return
    raise RuntimeError("ESCAPED chroot")
