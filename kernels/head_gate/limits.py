"""What the triton form of the gate can serve."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.backends import INTERPRETED

MOST_STATISTICS = 64
MOST_OUTPUTS = 16
MOST_HEADS = 64


def triton_limit(h: Tensor, s: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None) -> str | None:
    """Why the triton form cannot serve a call, or None."""
    H, S = s.shape[2:]
    if any(each is not None and each.dtype != h.dtype for each in (s, w1, b1, w2, b2)):
        return "all arguments must have one dtype"
    if h.dtype == torch.float64 and not INTERPRETED:
        return "it has no float64"
    if S > MOST_STATISTICS:
        return f"at most {MOST_STATISTICS} statistics a head, not {S}"
    if w2.shape[0] > MOST_OUTPUTS:
        return f"at most {MOST_OUTPUTS} outputs, not {w2.shape[0]}"
    if H > MOST_HEADS:
        return f"at most {MOST_HEADS} heads, not {H}"
    return None
