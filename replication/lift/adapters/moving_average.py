"""Exponential moving averages of published programs, served by `kernels.decay_attention`.

Shapes: B batch, H heads, T time, V value features.
"""

from __future__ import annotations

import torch
from torch import Tensor

import kernels


def moving_average(v: Tensor, gamma: Tensor, initial_state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """s_t = gamma_t s_{t-1} + (1 - gamma_t) v_t: all s [B, H, T, V], and the last one [B, H, V].

    Args:
        v: values [B, H, T, V].
        gamma: what is kept [B, H, T], from 0 to 1. A zero counts as the smallest normal number.
        initial_state: s before the first token [B, H, V]; zero by default.
    """
    kept_BTH = gamma.transpose(1, 2)
    ones_BTH1 = torch.ones_like(kept_BTH)[..., None]
    log_decay_BTH = kept_BTH.clamp(min=torch.finfo(gamma.dtype).tiny).log()
    inputs_BTHV = (1 - kept_BTH)[..., None] * v.transpose(1, 2)
    averages = kernels.decay_attention(ones_BTH1, ones_BTH1, inputs_BTHV, log_decay_BTH).transpose(1, 2)
    if initial_state is not None:
        averages = averages + gamma.cumprod(2)[..., None] * initial_state[:, :, None]
    return averages, averages[:, :, -1]
