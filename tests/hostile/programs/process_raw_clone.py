# attack: makes children by the raw system calls clone, clone with CLONE_VFORK and clone3
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

ctypes, os = torch.ctypes, torch.os
libc = ctypes.CDLL(None, use_errno=True)
SIGCHLD, CLONE_VFORK, CLONE_PARENT = 17, 0x4000, 0x8000


def attack():
    for flags in (SIGCHLD, SIGCHLD | CLONE_VFORK, SIGCHLD | CLONE_PARENT, 0):
        check(libc.syscall(int("{SYS_clone}"), flags, 0, 0, 0, 0))
    arguments = (ctypes.c_uint64 * 8)(0, 0, 0, 0, SIGCHLD)
    check(libc.syscall(int("{SYS_clone3}"), arguments, 64))


def check(child):
    if child == 0:
        os._exit(0)
    if child > 0:
        raise RuntimeError("ESCAPED clone")
