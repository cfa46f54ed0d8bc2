"""Gated RMS norm from PyTorch's fused parts. Shapes: ... any axes, D features."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def gated_norm_chunk(x_D: Tensor, gate_D: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """`kernels.gated_norm`, from fused parts; arguments already checked and of one dtype."""
    return F.rms_norm(x_D, weight_D.shape, weight_D, eps) * F.silu(gate_D)
