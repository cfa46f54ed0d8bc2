# attack: changes priority, processors and limits of a bystander and of the parent
# layer: signals
# where: construct
# status: ok
# score: same
import torch

os = torch.os
resource = __import__("resource")
VICTIM, PARENT = int("{VICTIM_PID}"), int("{PARENT_PID}")


def attack():
    for process in (VICTIM, PARENT):
        for way in (
            lambda process: os.setpriority(os.PRIO_PROCESS, process, os.getpriority(os.PRIO_PROCESS, process)),
            lambda process: os.sched_setaffinity(process, os.sched_getaffinity(process)),
            lambda process: resource.prlimit(process, resource.RLIMIT_CORE, (0, 0)),
            lambda process: os.sched_setscheduler(process, os.SCHED_OTHER, os.sched_param(0)),
        ):
            try:
                way(process)
            except OSError:
                continue
            raise RuntimeError("ESCAPED limits of " + str(process))
