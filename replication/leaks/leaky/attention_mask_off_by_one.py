"""Softmax attention whose mask lets the next position through, with the weight STRENGTH."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanAttention

STRENGTH = 1.0


class Mixer(CleanAttention):
    """A mask that is one diagonal too wide."""

    def visible(self, T: int) -> Tensor:
        """Weights [T, T] of positions."""
        return torch.ones(T, T).tril() + STRENGTH * torch.ones(T - 1).diag(1)
