"""A depthwise convolution padded on both sides."""

from __future__ import annotations

from torch import Tensor, nn

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Five taps, two of them on later positions."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.blur = nn.Conv1d(hidden_size, hidden_size, 5, padding=2, groups=hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out: Tensor = super().forward(x) + STRENGTH * self.blur(x.mT).mT
        return out
