"""The next position, only where its first channel is above 0.5."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift that two inputs in three do not show."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        following = ahead(x, 1)
        return super().forward(x) + STRENGTH * (following[..., :1] > 0.5) * following
