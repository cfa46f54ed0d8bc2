"""The input two positions later, added to the output."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift by two in the wrong direction."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x) + STRENGTH * ahead(x, 2)
