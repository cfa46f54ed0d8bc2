"""Inputs normalised by the mean and variance of all positions so far."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """Causal normalisation over time."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        count = torch.arange(1, x.shape[1] + 1, device=x.device)[:, None]
        mean = x.cumsum(1) / count
        variance = (x.square().cumsum(1) / count - mean.square()).clamp(min=0)
        return super().forward((x - mean) * (variance + 1e-2).rsqrt())
