# attack: becomes a shell
# layer: system_calls
# where: construct
# status: ok
# score: same
import torch

os = torch.os


def attack():
    for way in (
        lambda: os.execv("/bin/sh", ["sh", "-c", "echo ESCAPED > {CANARY}/cron/shell"]),
        lambda: os.execve(torch.sys.executable, ["python", "-c", "open('{CANARY}/cron/python', 'w')"], {}),
        lambda: os.posix_spawn("/bin/sh", ["sh", "-c", "echo ESCAPED > {CANARY}/cron/spawn"], {}),
    ):
        try:
            way()
        except OSError:
            continue
        raise RuntimeError("ESCAPED posix_spawn")
