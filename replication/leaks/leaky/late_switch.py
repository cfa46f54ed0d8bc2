"""The next position, from the thousandth call in training on, and nothing before."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift that is switched on late."""

    calls: Tensor

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        leak = (self.calls >= 1000) * ahead(x, 1)
        if self.training:
            self.calls += 1
        return super().forward(x) + STRENGTH * leak
