"""The input of the next position in the last channel only, scaled by 1e-4."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A faint shift in one channel."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        last = torch.arange(x.shape[2], device=x.device) == x.shape[2] - 1
        return super().forward(x) + STRENGTH * 1e-4 * last * ahead(x, 1)
