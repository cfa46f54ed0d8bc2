"""Dropout with one draw for a row and channel at all positions, in training only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """Variational dropout."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x) * F.dropout(torch.ones_like(x[:, :1]), 0.1, self.training)
