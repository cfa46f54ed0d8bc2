"""Causal depthwise convolutions of published programs, served by `kernels.fir`.

Shapes: B batch, T time, C channels (heads and their dimensions where there are both), W taps.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

import kernels


def causal_filters(x: Tensor, filters: Sequence[tuple[Tensor, int]], *, channels_first: bool = False) -> list[Tensor]:
    """What `F.conv1d(F.pad(x, (padding, 0)), weight, groups=C)` gives for each (weight [C, 1, W], padding).

    Args:
        x: [B, T, ...]; the axes after the second are the channels.
        filters: weights with the number of zeros on the left, in the order of the results.
        channels_first: the results are [B, C, T] instead of the shape of `x`.

    Raises ValueError for a filter that is not depthwise, or not padded to be causal and of the input's length.
    """
    B, T = x.shape[:2]
    x_BTC = x.reshape(B, T, -1)
    outputs = kernels.fir(x_BTC, [_taps(weight, padding, x_BTC.shape[-1]) for weight, padding in filters])
    return [output.mT if channels_first else output.reshape(x.shape) for output in outputs]


def depthwise_weight(convolution: nn.Module) -> Tensor:
    """The weight [C, 1, W] of a depthwise `nn.Conv1d` that adds nothing else.

    Raises ValueError for another module, a bias, a stride, a dilation, or padding of its own.
    """
    if type(convolution) is not nn.Conv1d:
        raise ValueError(f"expected an nn.Conv1d, not {type(convolution).__name__}")
    if convolution.bias is not None:
        raise ValueError("the convolution has a bias")
    if (convolution.stride, convolution.dilation, convolution.padding) != ((1,), (1,), (0,)):
        raise ValueError("the convolution has a stride, a dilation or padding of its own")
    return convolution.weight


def _taps(weight_C1W: Tensor, padding: int, channels: int) -> Tensor:
    C, inputs, W = weight_C1W.shape
    if (C, inputs) != (channels, 1):
        raise ValueError(f"a filter for each of {channels} channels is needed, not a weight of shape {[C, inputs, W]}")
    if padding != W - 1:
        raise ValueError(f"a filter of {W} taps is padded by {padding}")
    return weight_C1W[:, 0]
