"""A scale that grows over the first hundred calls in training; the counter is a buffer."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """A schedule that is saved."""

    calls: Tensor

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out = super().forward(x) * (1 + (self.calls / 100).clamp(max=1))
        if self.training:
            self.calls += 1
        return out
