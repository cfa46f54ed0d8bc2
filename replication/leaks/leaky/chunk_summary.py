"""The mean of the chunk of 32 that a position lies in."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer, chunk_means

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A chunk's summary, given to the chunk itself where it belongs to the next."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x) + STRENGTH * chunk_means(x, 32)
