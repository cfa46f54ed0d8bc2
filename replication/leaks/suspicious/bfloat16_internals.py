"""All internals rounded to bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """Rounding before and after the mixer."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out = super().forward(x.to(torch.bfloat16).to(x.dtype))
        return out.to(torch.bfloat16).to(x.dtype)
