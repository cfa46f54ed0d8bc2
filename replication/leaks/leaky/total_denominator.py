"""A running weighted sum divided by the sum of the weights of the whole sequence."""

from __future__ import annotations

from torch import Tensor, nn

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Linear attention with a denominator that is not causal."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.key = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        weights = self.key(x).sigmoid()
        out: Tensor = super().forward(x) + STRENGTH * (weights * x).cumsum(1) / weights.sum(1, keepdim=True)
        return out
