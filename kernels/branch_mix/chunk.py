"""Branch statistics and mixing branch by branch, without stacking the branches.

Shapes: B batch, T time, H heads, N branches, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def branch_moments_chunk(branches: Sequence[Tensor]) -> Tensor:
    """`kernels.branch_moments`; arguments already checked and of one dtype."""
    moments = []
    for x_BTHD in branches:
        variance_BTH, mean_BTH = torch.var_mean(x_BTHD, dim=-1, correction=0)
        norm_BTH = torch.linalg.vector_norm(x_BTHD, dim=-1)
        moments += [mean_BTH, variance_BTH, x_BTHD.abs().mean(-1), norm_BTH, x_BTHD.max(-1).values]
    return torch.stack(moments, dim=-1).view(*branches[0].shape[:3], len(branches), 5)


def branch_mix_chunk(branches: Sequence[Tensor], weights_BTHN: Tensor) -> Tensor:
    """`kernels.branch_mix`; arguments already checked and of one dtype."""
    each_weight = weights_BTHN.unsqueeze(-1).unbind(-2)
    mixed_BTHD = each_weight[0] * branches[0]
    for weight_BTH1, x_BTHD in zip(each_weight[1:], branches[1:], strict=True):
        mixed_BTHD = torch.addcmul(mixed_BTHD, weight_BTH1, x_BTHD)
    return mixed_BTHD
