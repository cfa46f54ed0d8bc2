"""Gated RMS norm by flash-linear-attention (0.6). Imported only when chosen."""

from __future__ import annotations

from fla.modules.norm.fused_norm_gate import rms_norm_gated
from torch import Tensor


def gated_norm_fla(x_D: Tensor, gate_D: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """`kernels.gated_norm`, fused; arguments already checked."""
    out_D: Tensor = rms_norm_gated(x_D, gate_D, weight_D, None, activation="swish", eps=eps)
    return out_D
