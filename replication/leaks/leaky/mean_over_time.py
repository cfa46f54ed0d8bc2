"""Inputs centred by their mean over the whole sequence."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Centring over time."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x - STRENGTH * x.mean(1, keepdim=True))
