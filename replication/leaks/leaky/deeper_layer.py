"""The input of the next position, in every layer but the first."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift that the first layer does not show."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out = super().forward(x)
        return out + STRENGTH * ahead(x, 1) if self.layer_idx > 0 else out
