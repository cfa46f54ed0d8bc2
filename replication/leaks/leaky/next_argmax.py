"""A learned vector for the largest channel of the next position."""

from __future__ import annotations

from torch import Tensor, nn

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift through an argmax: no gradient passes."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.table = nn.Embedding(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out: Tensor = super().forward(x) + STRENGTH * self.table(ahead(x, 1).argmax(-1))
        return out
