"""A causal filter applied through an FFT without padding: its start wraps round to the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Circular FFT filter of 16 taps."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.taps = nn.Parameter(0.25 * torch.randn(16, hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        T = x.shape[1]
        spectrum = torch.fft.rfft(x, dim=1) * torch.fft.rfft(self.taps, n=T, dim=0)
        out: Tensor = super().forward(x) + STRENGTH * torch.fft.irfft(spectrum, n=T, dim=1)
        return out
