"""The next position through a learned projection."""

from __future__ import annotations

from torch import Tensor, nn

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A shift by one in the wrong direction, and a linear layer."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.peek = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out: Tensor = super().forward(x) + STRENGTH * self.peek(ahead(x, 1))
        return out
