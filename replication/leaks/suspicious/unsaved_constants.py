"""Constants that are drawn at construction and not saved."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """A random scale outside the state."""

    scale: Tensor

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.register_buffer("scale", 1 + torch.rand(hidden_size), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x) * self.scale
