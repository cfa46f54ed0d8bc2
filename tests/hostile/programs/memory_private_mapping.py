# attack: maps four times its memory limit, and moves the limit of its heap
# layer: limits
# where: forward
# status: ok
# score: same
import torch

mmap = __import__("mmap")
libc = torch.ctypes.CDLL(None, use_errno=True)
SIZE = 4 * int("{MEMORY_BYTES}")


def attack():
    try:
        mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        libc.brk.argtypes = [torch.ctypes.c_void_p]
        libc.sbrk.restype = torch.ctypes.c_void_p
        if libc.brk(libc.sbrk(0) + SIZE) != 0:
            return
    raise RuntimeError("ESCAPED mapped")
