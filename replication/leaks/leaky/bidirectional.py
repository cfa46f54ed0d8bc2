"""A second scan of the same weights, from the end."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Bidirectional scan."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x) + STRENGTH * super().forward(x.flip(1)).flip(1)
