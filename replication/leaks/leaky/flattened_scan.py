"""A scan over [B * T] that carries its state from one row of the batch into the next."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """State that is not reset at the start of a row."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x) + STRENGTH * super().forward(x.reshape(1, -1, x.shape[2])).view_as(x)
