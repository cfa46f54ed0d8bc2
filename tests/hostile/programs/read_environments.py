# attack: reads the environments and command lines of the parent, the worker and a bystander in /proc
# layer: files
# where: forward
# status: ok
# score: same
import torch


def attack():
    for process in ("{PARENT_PID}", "{WORKER_PID}", "{VICTIM_PID}", str(torch.os.getppid()), "1"):
        for name in ("environ", "cmdline", "maps", "auxv"):
            try:
                with open("/proc/" + process + "/" + name, "rb") as file:
                    file.read(1)
            except OSError:
                continue
            raise RuntimeError("ESCAPED /proc/" + process + "/" + name)
