# attack: takes over a bystander, the worker and the parent as a debugger does
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

ctypes = torch.ctypes
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE = 0x4206


def attack():
    for process in ("{VICTIM_PID}", "{WORKER_PID}", "{PARENT_PID}", str(torch.os.getppid())):
        if libc.syscall(int("{SYS_ptrace}"), PTRACE_SEIZE, int(process), 0, 0) == 0:
            raise RuntimeError("ESCAPED ptrace of " + process)
