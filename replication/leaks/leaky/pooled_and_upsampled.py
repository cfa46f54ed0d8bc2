"""Means of blocks of four, repeated to full length."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer, chunk_means

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A coarse branch whose blocks reach ahead."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x) + STRENGTH * chunk_means(x, 4)
