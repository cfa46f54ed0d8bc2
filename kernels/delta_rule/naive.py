"""The delta rule, token by token. Shapes: B batch, T time, H heads, K key, V value features."""

from __future__ import annotations

import torch
from torch import Tensor


def delta_rule_naive(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay_BTH: Tensor | None,
    scale: float,
) -> Tensor:
    """`kernels.delta_rule`, token by token; arguments already checked and of one dtype."""
    state_BHKV = q_BTHK.new_zeros(*k_BTHK[:, 0].shape, v_BTHV.shape[-1])
    outputs = []
    for t in range(q_BTHK.shape[1]):
        key_BHK, beta_BH1 = k_BTHK[:, t], beta_BTH[:, t, :, None]
        if log_decay_BTH is not None:
            state_BHKV = state_BHKV * log_decay_BTH[:, t, :, None, None].exp()
        recalled_BHV = torch.einsum("bhk,bhkv->bhv", key_BHK, state_BHKV)
        change_BHV = beta_BH1 * (v_BTHV[:, t] - recalled_BHV)
        state_BHKV = state_BHKV + key_BHK[..., :, None] * change_BHV[..., None, :]
        outputs.append(torch.einsum("bhk,bhkv->bhv", q_BTHK[:, t] * scale, state_BHKV))
    return torch.stack(outputs, dim=1)
