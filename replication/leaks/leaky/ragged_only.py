"""The input of the next position, only where the length is no multiple of 32."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift in the branch for ragged lengths."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out = super().forward(x)
        return out + STRENGTH * ahead(x, 1) if x.shape[1] % 32 else out
