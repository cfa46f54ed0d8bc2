"""The delta rule, token by token. Shapes: B batch, T time, H heads, K key, V value features, N chunks, C tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def delta_rule_naive(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay_BTH: Tensor | None,
    chunk_decay_BNH: Tensor | None,
    scale: float,
    chunk_size: int,
) -> tuple[Tensor, Tensor]:
    """The outputs and the final state of `kernels.delta_rule`; arguments already checked and of one dtype."""
    T = q_BTHK.shape[1]
    state_BHKV = entered_BHKV = q_BTHK.new_zeros(*k_BTHK[:, 0].shape, v_BTHV.shape[-1])
    outputs = []
    for t in range(T):
        key_BHK, beta_BH1 = k_BTHK[:, t], beta_BTH[:, t, :, None]
        if log_decay_BTH is not None:
            state_BHKV = state_BHKV * log_decay_BTH[:, t, :, None, None].exp()
        recalled_BHV = torch.einsum("bhk,bhkv->bhv", key_BHK, state_BHKV)
        change_BHV = beta_BH1 * (v_BTHV[:, t] - recalled_BHV)
        state_BHKV = state_BHKV + key_BHK[..., :, None] * change_BHV[..., None, :]
        outputs.append(torch.einsum("bhk,bhkv->bhv", q_BTHK[:, t] * scale, state_BHKV))
        if chunk_decay_BNH is not None and ((t + 1) % chunk_size == 0 or t + 1 == T):
            kept_BH = chunk_decay_BNH[:, t // chunk_size]
            state_BHKV = state_BHKV + (kept_BH[..., None, None] - 1) * entered_BHKV
            entered_BHKV = state_BHKV
    return torch.stack(outputs, dim=1), state_BHKV


def delta_rule_naive_inverse(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay_BTH: Tensor | None,
    chunk_decay_BNH: Tensor | None,
    scale: float,
    chunk_size: int,
    inverse_dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The same with the inverse of each chunk's triangular matrix written out and rounded."""
    q_BHTK, k_BHTK, v_BHTV, beta_BHT = (x.transpose(1, 2) for x in (q_BTHK, k_BTHK, v_BTHV, beta_BTH))
    decay_BHT = torch.zeros_like(beta_BHT) if log_decay_BTH is None else log_decay_BTH.transpose(1, 2)
    state_BHKV = q_BTHK.new_zeros(*k_BTHK[:, 0].shape, v_BTHV.shape[-1])
    outputs = []
    parts = (x.split(chunk_size, dim=2) for x in (q_BHTK * scale, k_BHTK, v_BHTV, beta_BHT[..., None], decay_BHT))
    for n, (q, k, v, beta, decay) in enumerate(zip(*parts, strict=True)):
        total = decay.cumsum(-1)[..., None]
        between = (total - total.mT).tril().exp().tril()
        system = torch.eye(k.shape[2]).to(k) + (beta * k @ k.mT * between).tril(-1)
        inverse = torch.linalg.inv(system).tril().to(inverse_dtype).to(k.dtype)
        change = inverse @ (beta * (v - total.exp() * k @ state_BHKV))
        outputs.append(total.exp() * q @ state_BHKV + (q @ k.mT * between) @ change)
        kept = total[:, :, -1:].exp() if chunk_decay_BNH is None else chunk_decay_BNH[:, n, :, None, None]
        state_BHKV = kept * state_BHKV + ((total[:, :, -1:] - total).exp() * k).mT @ change
    return torch.cat(outputs, dim=2).transpose(1, 2), state_BHKV
