# attack: raises an error of the project's own kind, with fields of its choice
# layer: protocol
# where: forward
# status: crashed
# score: none
import torch


def attack():
    for name in ("replication.train", "replication.worker"):
        module = torch.sys.modules.get(name)
        kind = getattr(module, "CheckpointError", None)
        if kind is not None:
            error = kind("status: ok")
            error.step, error.status, error.losses = 10**30, "ok", [0.0]
            raise error
    raise SystemExit(0)
