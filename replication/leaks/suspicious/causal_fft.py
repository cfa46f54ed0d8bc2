"""An exponential filter as long as the sequence, applied through an FFT with as many zeros of padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from replication.leaks.clean import CleanMixer


class Mixer(CleanMixer):
    """Padded FFT filter."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.rate = nn.Parameter(torch.linspace(-4, 0, hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        T = x.shape[1]
        age = torch.arange(T, dtype=x.dtype, device=x.device)[:, None]
        spectrum = torch.fft.rfft(x, n=2 * T, dim=1) * torch.fft.rfft((-age * self.rate.exp()).exp(), n=2 * T, dim=0)
        out: Tensor = super().forward(x) + torch.fft.irfft(spectrum, n=2 * T, dim=1)[:, :T]
        return out
