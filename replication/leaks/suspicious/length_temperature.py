"""A gate whose temperature is the logarithm of the length."""

from __future__ import annotations

import math

from torch import Tensor, nn

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """Scaling by log(T)."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.gate = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out: Tensor = super().forward(x) * (self.gate(x) * math.log(1 + x.shape[1])).sigmoid()
        return out
