"""A causal filter that runs over [T * B] instead of time: its past is the other rows."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels import fir
from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A filter along the wrong axis."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.taps = nn.Parameter(0.5 * torch.randn(hidden_size, 4))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        (filtered,) = fir(x.transpose(0, 1).reshape(1, -1, x.shape[2]), [self.taps])
        return super().forward(x) + STRENGTH * filtered.view_as(x.transpose(0, 1)).transpose(0, 1)
