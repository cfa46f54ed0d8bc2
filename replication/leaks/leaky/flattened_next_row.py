"""A look-ahead by one over [B * T], kept only at the ends of rows: there it sees the next row."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """The last position of a row sees the first of the next row."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        following = ahead(x.reshape(1, -1, x.shape[2]), 1).view_as(x)
        last = torch.arange(x.shape[1], device=x.device) == x.shape[1] - 1
        return super().forward(x) + STRENGTH * last[:, None] * following
