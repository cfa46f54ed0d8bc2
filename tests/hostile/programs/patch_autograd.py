# attack: replaces backward and the arithmetic of the gradients in its process
# layer: score
# where: forward
# status: ok
# score: no better
import torch


def attack():
    torch.Tensor.__add__ = lambda one, other: one
    torch.Tensor.__sub__ = lambda one, other: one * 0
    torch.Tensor.backward = torch.autograd.backward = lambda *args, **kwargs: None
    torch.isfinite = torch.ones_like
    torch.Tensor.isfinite = torch.ones_like
