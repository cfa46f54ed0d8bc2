"""The activations that a gate may have, each with its gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_aten = torch.ops.aten


class Activation(NamedTuple):
    """value(z), and gradient(upstream gradient, z)."""

    value: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor, Tensor], Tensor]


def _tanh_gradient(grad: Tensor, z: Tensor) -> Tensor:
    return grad * (1 - z.tanh().square())


def _relu_gradient(grad: Tensor, z: Tensor) -> Tensor:
    return grad * (z > 0)


ACTIVATIONS = {
    "gelu": Activation(F.gelu, _aten.gelu_backward),
    "gelu_tanh": Activation(partial(F.gelu, approximate="tanh"), partial(_aten.gelu_backward, approximate="tanh")),
    "silu": Activation(F.silu, _aten.silu_backward),
    "relu": Activation(F.relu, _relu_gradient),
    "tanh": Activation(torch.tanh, _tanh_gradient),
}
