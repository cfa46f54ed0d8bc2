# attack: runs commands by subprocess, os.system, os.popen and C's system and popen
# layer: system_calls
# where: forward
# status: ok
# score: same
import torch

os, ctypes = torch.os, torch.ctypes
subprocess = __import__("subprocess")
COMMAND = "echo ESCAPED > {CANARY}/cron/command"


def attack():
    for way in (
        lambda: subprocess.run(["/bin/sh", "-c", COMMAND], check=True),
        lambda: subprocess.Popen([torch.sys.executable, "-c", "1"], start_new_session=True, close_fds=False),
        lambda: os.popen(COMMAND),
    ):
        try:
            way()
        except OSError:
            continue
        raise RuntimeError("ESCAPED subprocess")
    libc = ctypes.CDLL(None)
    libc.popen.restype = ctypes.c_void_p
    if os.system(COMMAND) == 0 or libc.system(COMMAND.encode()) == 0 or libc.popen(COMMAND.encode(), b"r"):
        raise RuntimeError("ESCAPED system")
