"""Positions weighted by a softmax over the whole sequence."""

from __future__ import annotations

from torch import Tensor, nn

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A softmax along the wrong axis."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.score = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        weights = self.score(x).softmax(1) * x.shape[1]
        out: Tensor = super().forward(x) + STRENGTH * weights * x
        return out
