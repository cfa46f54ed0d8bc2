# attack: sets up io_uring, whose requests pass no filter of system calls
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

ctypes = torch.ctypes
libc = ctypes.CDLL(None, use_errno=True)


def attack():
    descriptor = libc.syscall(int("{SYS_io_uring_setup}"), 4, ctypes.create_string_buffer(120))
    if descriptor >= 0:
        torch.os.close(descriptor)
        raise RuntimeError("ESCAPED io_uring")
