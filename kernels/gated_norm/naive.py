"""Gated RMS norm, written out. Shapes: ... any axes, D features."""

from __future__ import annotations

from torch import Tensor


def gated_norm_naive(x_D: Tensor, gate_D: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    """`kernels.gated_norm`, written out; arguments already checked and of one dtype."""
    mean_square = x_D.square().mean(dim=-1, keepdim=True)
    return x_D / (mean_square + eps).sqrt() * weight_D * gate_D / (1 + (-gate_D).exp())
