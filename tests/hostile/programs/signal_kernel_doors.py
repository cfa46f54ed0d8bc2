# attack: knocks at every privileged door of the kernel: mounts, modules, BPF, performance counters, keys, namespaces
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

ctypes = torch.ctypes
libc = ctypes.CDLL(None, use_errno=True)
REFUSED = (1, 13, 38)  # EPERM, EACCES, ENOSYS: anything else, for these senseless arguments, is an open door
DOORS = """
{SYS_mount} {SYS_umount2} {SYS_pivot_root} {SYS_init_module} {SYS_bpf} {SYS_perf_event_open} {SYS_userfaultfd}
{SYS_keyctl} {SYS_add_key} {SYS_fsopen} {SYS_open_tree} {SYS_kcmp} {SYS_setns}
"""


def attack():
    for number in DOORS.split():
        ctypes.set_errno(0)
        result = libc.syscall(int(number), -1, -1, -1, -1, -1)
        if result >= 0 or ctypes.get_errno() not in REFUSED:
            raise RuntimeError("ESCAPED door " + number + " errno " + str(ctypes.get_errno()))
