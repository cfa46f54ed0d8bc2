"""Linear attention with decay, token by token.

Shapes: B batch, T time, H heads, K key, V value features, G = 1 or K.
"""

from __future__ import annotations

import torch
from torch import Tensor


def decay_attention_naive(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, log_decay_BTHG: Tensor | None, scale: float
) -> Tensor:
    """`kernels.decay_attention`, token by token; arguments already checked and of one dtype."""
    state_BHKV = q_BTHK.new_zeros(*k_BTHK[:, 0].shape, v_BTHV.shape[-1])
    outputs = []
    for t in range(q_BTHK.shape[1]):
        if log_decay_BTHG is not None:
            state_BHKV = state_BHKV * log_decay_BTHG[:, t, :, :, None].exp()
        state_BHKV = state_BHKV + k_BTHK[:, t, :, :, None] * v_BTHV[:, t, :, None, :]
        outputs.append(torch.einsum("bhk,bhkv->bhv", q_BTHK[:, t] * scale, state_BHKV))
    return torch.stack(outputs, dim=1)
