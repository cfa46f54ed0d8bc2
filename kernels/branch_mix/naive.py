"""Branch statistics and mixing by their definitions. Shapes: B batch, T time, H heads, N branches, D head size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def branch_moments_naive(branches: Sequence[Tensor]) -> Tensor:
    """`kernels.branch_moments`; arguments already checked and of one dtype."""
    x_BTHND = torch.stack(list(branches), dim=3)
    mean_BTHN1 = x_BTHND.mean(-1, keepdim=True)
    moments = (
        mean_BTHN1.squeeze(-1),
        ((x_BTHND - mean_BTHN1) ** 2).mean(-1),
        x_BTHND.abs().mean(-1),
        torch.linalg.vector_norm(x_BTHND, dim=-1),  # of gradient 0 at 0, where a square root has none
        x_BTHND.max(-1).values,
    )
    return torch.stack(moments, dim=-1)


def branch_mix_naive(branches: Sequence[Tensor], weights_BTHN: Tensor) -> Tensor:
    """`kernels.branch_mix`; arguments already checked and of one dtype."""
    return (torch.stack(list(branches), dim=-1) * weights_BTHN[..., None, :]).sum(-1)
