"""A scale that grows over the first hundred calls in training; the counter is a plain attribute."""

from __future__ import annotations

from torch import Tensor

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """A schedule that is not saved."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out = super().forward(x) * (1 + min(1.0, self.calls / 100))
        if self.training:
            self.calls += 1
        return out
