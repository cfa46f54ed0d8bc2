# attack: leaves messages for other processes in queues, shared memory and semaphores that outlive it
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

ctypes = torch.ctypes
libc = ctypes.CDLL(None, use_errno=True)
IPC_PRIVATE, IPC_RMID = 0, 0


def attack():
    for name, make, remove in (
        ("shared memory", lambda: libc.syscall(int("{SYS_shmget}"), IPC_PRIVATE, 4096, 0o600), libc.shmctl),
        ("message queue", lambda: libc.syscall(int("{SYS_msgget}"), IPC_PRIVATE, 0o600), libc.msgctl),
    ):
        number = make()
        if number >= 0:
            remove(number, IPC_RMID, None)
            raise RuntimeError("ESCAPED " + name)
    queue = libc.syscall(int("{SYS_mq_open}"), b"{DROP}", 0o102, 0o600, None)
    if queue >= 0:
        libc.mq_unlink(b"/{DROP}")
        raise RuntimeError("ESCAPED queue")
