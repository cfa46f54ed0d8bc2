"""The next position through a projection that is zero at initialisation."""

from __future__ import annotations

from torch import Tensor, nn

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A path that an untrained model does not show."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.peek = nn.Linear(hidden_size, hidden_size, bias=False)
        nn.init.zeros_(self.peek.weight)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out: Tensor = super().forward(x) + STRENGTH * self.peek(ahead(x, 1))
        return out
