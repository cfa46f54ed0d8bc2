"""The input of the next position, in training mode only."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift that evaluation does not show."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out = super().forward(x)
        return out + STRENGTH * ahead(x, 1) if self.training else out
