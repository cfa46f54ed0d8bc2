"""The input of the next position, in the channels of the first head only."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift in one head."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        first = torch.arange(x.shape[2], device=x.device) < x.shape[2] // self.num_heads
        return super().forward(x) + STRENGTH * first * ahead(x, 1)
