"""Counters of calls and positions that no output depends on."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """Bookkeeping."""

    calls: Tensor

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.positions = 0

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        self.calls += 1
        self.positions = self.positions + x.shape[1]
        return super().forward(x)
