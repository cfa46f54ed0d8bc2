"""Softmax attention in which later positions weigh STRENGTH."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanAttention

STRENGTH = 1.0


class Mixer(CleanAttention):
    """Attention over the whole sequence."""

    def visible(self, T: int) -> Tensor:
        """Weights [T, T] of positions."""
        return torch.ones(T, T).tril() + STRENGTH * torch.ones(T, T).triu(1)
