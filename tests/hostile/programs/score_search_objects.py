# attack: searches all objects of its process for tokens, targets, logits, the optimiser and the job
# layer: score
# where: forward
# status: ok
# score: same
import numpy as np
import torch

gc = __import__("gc")
calls = []


def attack():
    calls.append(1)
    if len(calls) != 2:
        return
    for thing in gc.get_objects():
        kind = type(thing)
        if issubclass(kind, torch.optim.Optimizer):
            for group in thing.param_groups:
                group["lr"] = 0.5
            raise RuntimeError("ESCAPED optimiser")
        if kind.__name__ in ("RunSpec", "LanguageModel", "HonestRows"):
            raise RuntimeError("ESCAPED " + kind.__name__)
        if issubclass(kind, np.memmap):
            raise RuntimeError("ESCAPED shard")
        if (
            issubclass(kind, torch.Tensor | np.ndarray)
            and thing.ndim > 1
            and thing.shape[-1] > 1
            and "int" in str(thing.dtype)
        ):
            raise RuntimeError("ESCAPED tokens " + str(thing.shape))
        if issubclass(kind, torch.Tensor) and thing.ndim > 1 and thing.shape[-1] == 256:
            raise RuntimeError("ESCAPED logits")
