"""Causal depthwise filters by flash-linear-attention, a call a filter. Shapes: B batch, T time, C channels, W taps."""

from __future__ import annotations

from collections.abc import Sequence

from fla.modules.causal_conv1d import causal_conv1d
from torch import Tensor


def fir_fla(x_BTC: Tensor, filters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`kernels.fir` in the dtypes of its arguments; sums are in float32."""
    return tuple(causal_conv1d(x_BTC, filter_CW.contiguous(), backend="triton")[0] for filter_CW in filters)
