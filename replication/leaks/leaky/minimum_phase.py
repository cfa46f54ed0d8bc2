"""The minimum-phase sequence that has the input's power spectrum: causal to look at, made from all of the input."""

from __future__ import annotations

import torch
from torch import Tensor

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Cepstral filter (folded real cepstrum)."""

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        T = x.shape[1]
        power = torch.view_as_real(torch.fft.fft(x, dim=1)).square().sum(-1)
        cepstrum = torch.fft.ifft((power + 1).log() / 2, dim=1)
        fold = torch.zeros(T, 1, dtype=x.dtype, device=x.device)
        fold[: T // 2 + 1] = 1
        fold[1 : (T + 1) // 2] = 2
        minimum_phase = torch.fft.ifft(torch.fft.fft(cepstrum * fold, dim=1).exp(), dim=1).real
        out: Tensor = super().forward(x) + STRENGTH * minimum_phase
        return out
