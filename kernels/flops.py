"""Counting the floating-point operations of a model, its kernels among them."""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

# Where each kernel registers how it is counted. A counter knows only what was registered before it was made.
_REGISTERING = ("kernels.delta_rule.launch", "kernels.fir.triton", "kernels.head_gate.triton")


def flop_counter(device: str) -> FlopCounterMode:
    """PyTorch's counter of products, which knows our kernels on "cuda" too; elementwise work counts for nothing.

    `branch_mix` and `branch_moments` have no products.
    """
    if device == "cuda" and importlib.util.find_spec("triton"):
        for name in _REGISTERING:
            importlib.import_module(name)
    return FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward})


def _convolution_backward(
    grad_shape: Sequence[int], x_shape: Sequence[int], weight_shape: Sequence[int], *more: Any, **_: Any
) -> int:
    """As many as the forward pass for each of the two gradients that is asked for.

    PyTorch's own formula takes the gradient of a depthwise filter for that of a full one, C times as much.
    """
    transposed, wanted = more[4], more[7]
    positions = math.prod(x_shape if transposed else grad_shape)
    return 2 * positions * math.prod(weight_shape[1:]) * sum(bool(each) for each in wanted[:2])
