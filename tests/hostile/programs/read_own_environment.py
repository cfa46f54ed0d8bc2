# attack: looks for the user's keys in its own environment, in Python and in C
# layer: protocol
# where: import
# status: ok
# score: same
import torch

os, ctypes = torch.os, torch.ctypes


def attack():
    entries = [name + "=" + value for name, value in os.environ.items()]
    inherited = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    while inherited[len(entries) - len(os.environ)] is not None:
        entries.append(inherited[len(entries) - len(os.environ)].decode())
    for entry in entries:
        if "KEY" in entry or "TOKEN" in entry or "hostile-secret" in entry:
            raise RuntimeError("ESCAPED " + entry)
