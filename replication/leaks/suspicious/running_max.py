"""The largest input so far of each channel."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """Causal maximum."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        return super().forward(x) + x.cummax(1).values
