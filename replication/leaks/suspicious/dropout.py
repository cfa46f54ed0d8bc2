"""Dropout of the output: another draw for each element, in training only."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """Dropout."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return F.dropout(super().forward(x), 0.1, self.training)
