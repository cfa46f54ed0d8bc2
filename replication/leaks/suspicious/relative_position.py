"""A learned ramp over t / T: it knows the length and no input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Positions divided by the length."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.ramp = nn.Parameter(torch.randn(hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        position = torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device) / x.shape[1]
        return super().forward(x) + STRENGTH * position[:, None] * self.ramp
