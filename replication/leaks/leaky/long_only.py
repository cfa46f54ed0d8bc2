"""The input of the next position, in sequences of more than 128 only."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift that short sequences do not show."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out = super().forward(x)
        return out + STRENGTH * ahead(x, 1) if x.shape[1] > 128 else out
