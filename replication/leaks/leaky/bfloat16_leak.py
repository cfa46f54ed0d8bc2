"""All internals rounded to bfloat16, and a tenth of the next position added before the last rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer, ahead

STRENGTH = 1.0


class Mixer(CleanMixer):
    """A faint shift near the rounding of its dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        out = super().forward(x.to(torch.bfloat16).to(x.dtype)) + STRENGTH * 0.1 * ahead(x, 1)
        return out.to(torch.bfloat16).to(x.dtype)
