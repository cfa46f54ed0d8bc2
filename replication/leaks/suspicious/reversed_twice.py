"""A filter that looks ahead, run over the reversed sequence, and the result reversed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from replication.leaks.clean import CleanMixer, ahead


class Mixer(CleanMixer):
    """Two reversals."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.taps = nn.Parameter(0.5 * torch.randn(4, hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        backward = x.flip(1)
        filtered = torch.stack([ahead(backward, steps) * self.taps[steps] for steps in range(4)]).sum(0)
        return super().forward(x) + filtered.flip(1)
