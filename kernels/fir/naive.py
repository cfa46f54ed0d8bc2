"""Causal depthwise filters, tap by tap. Shapes: B batch, T time, C channels, W taps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def fir_naive(x_BTC: Tensor, filters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`kernels.fir`, tap by tap; arguments already checked and of one dtype."""
    outputs = []
    for filter_CW in filters:
        taps = filter_CW.shape[1]
        moments = []
        for t in range(x_BTC.shape[1]):
            used = range(max(0, taps - 1 - t), taps)
            terms = [x_BTC[:, t - (taps - 1) + w] * filter_CW[:, w] for w in used]
            moments.append(torch.stack(terms).sum(0))
        outputs.append(torch.stack(moments, dim=1))
    return tuple(outputs)
