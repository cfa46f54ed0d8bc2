"""The sequence in reverse order, added to the output."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Position t holds the input T - 1 - t."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x) + STRENGTH * x.flip(1)
