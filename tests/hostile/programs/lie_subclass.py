# attack: answers a tensor of its own kind, which gives other values, types and shapes whenever it is read
# layer: protocol
# status: ok
# score: same
import numpy as np
import torch


class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **(kwargs or {}))
        return result * 1e30 if isinstance(result, torch.Tensor) and result.is_floating_point() else result

    def numpy(self, *, force=False):
        return np.full((1, 2, 3), "ESCAPED", dtype=object)

    def is_floating_point(self):
        return True

    cpu = detach = contiguous = to = float = lambda self, *args, **kwargs: self


def change(mixer, x, y):
    return y.as_subclass(Liar)
