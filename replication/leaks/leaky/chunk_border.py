"""Chunks of 32 cut one position late: the last position of each sees the first of the next."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Off by one at chunk borders."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        last = torch.arange(x.shape[1], device=x.device) % 32 == 31
        return super().forward(x) + STRENGTH * last[:, None] * ahead(x, 1)
