"""A gate computed from the mean of the whole sequence."""

from __future__ import annotations

from torch import Tensor, nn

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Squeeze and excite over time."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.gate = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        gate = self.gate(x.mean(1, keepdim=True)).sigmoid()
        out: Tensor = super().forward(x) * (1 - STRENGTH + STRENGTH * gate)
        return out
