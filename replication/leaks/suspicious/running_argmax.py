"""How long ago each channel was at its largest so far."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """Causal argmax."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        now = torch.arange(x.shape[1], device=x.device)[:, None]
        age = (now - x.cummax(1).indices).to(x.dtype)
        return super().forward(x) + age / (now + 1)
