"""Batch normalisation over batch and time: statistics of the batch in training, running averages in evaluation."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """BatchNorm1d over [B, T]."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.batch_norm = nn.BatchNorm1d(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        padded = F.pad(x, (0, 0, 1, 0))  # one zero more, since the variance of a single value is refused
        out: Tensor = super().forward(x) + STRENGTH * self.batch_norm(padded.mT).mT[:, 1:]
        return out
