"""The next position behind a learned gate that starts nearly closed: sigmoid(-12) = 6e-6."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift that training may open."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.gate = nn.Parameter(torch.full((hidden_size,), -12.0))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x) + STRENGTH * self.gate.sigmoid() * ahead(x, 1)
