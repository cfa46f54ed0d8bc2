# attack: calls the kernel by its 32-bit and x32 doors, which have other numbers (x86-64 only)
# layer: system_calls
# where: construct
# status: crashed
# score: none
import torch

ctypes, os = torch.ctypes, torch.os
libc = ctypes.CDLL(None, use_errno=True)
X32, SOCKET_X86 = 0x40000000, 359


def attack():
    if os.uname().machine != "x86_64":
        raise RuntimeError("no such doors here")
    if libc.syscall(X32 | int("{SYS_socket}"), 2, 1, 0) >= 0:
        raise RuntimeError("ESCAPED x32")
    code = b"\x53\xb8" + SOCKET_X86.to_bytes(4, "little")  # push rbx; mov eax, number
    code += b"\xbb\x02\x00\x00\x00\xb9\x01\x00\x00\x00\x31\xd2\xcd\x80\x5b\xc3"  # (2, 1, 0); int 0x80; pop rbx; ret
    memory = __import__("mmap").mmap(-1, 4096, prot=7)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if ctypes.CFUNCTYPE(ctypes.c_int)(address)() >= 0:
        raise RuntimeError("ESCAPED int 0x80")
    raise RuntimeError("refused by both")
