# attack: cuts the ties that end it with its parent, becomes traceable, ignores all signals and sleeps for ever
# layer: watchdog
# where: forward
# status: timed_out
# score: none
import torch

libc = torch.ctypes.CDLL(None, use_errno=True)
signal, time = __import__("signal"), __import__("time")
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER, PR_SET_PTRACER = 1, 4, 36, 0x59616D61


def attack():
    libc.prctl(PR_SET_PDEATHSIG, 0)
    libc.prctl(PR_SET_DUMPABLE, 1)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    libc.prctl(PR_SET_PTRACER, -1)
    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            continue
    while True:
        time.sleep(1)
