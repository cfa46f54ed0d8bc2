"""The sequence rolled by one, with the position that wraps round set to zero."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """A roll without its wrap."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        rolled = x.roll(1, dims=1)
        first = torch.arange(x.shape[1], device=x.device) == 0
        return super().forward(x) + rolled.masked_fill(first[:, None], 0)
