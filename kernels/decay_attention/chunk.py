"""Linear attention with decay in chunks (Mamba-2, arXiv 2405.21060, section 6; GLA, arXiv 2312.06635).

Decays are kept as logarithms, and every factor is the exponential of a sum over a stretch of time that ends
no later than the token which reads it: never positive, so nothing overflows however strong the decay. A decay
per key channel then needs one factor for each pair of tokens and channel within a chunk, which is why its
chunks are small.

Shapes: B batch, T time, H heads, K key, V value features, G = 1 or K, C chunk size, N chunks,
P = B*H, M = N*P.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.chunks import join_chunks, split_chunks


def decay_attention_chunk(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    log_decay_BTHG: Tensor | None,
    scale: float,
    chunk_size: int,
) -> Tensor:
    """`kernels.decay_attention`, in chunks; arguments already checked and of one dtype."""
    B, T, H, _ = q_BTHK.shape
    C = min(chunk_size, T)
    q_MCK, k_MCK, v_MCV = (split_chunks(x, C) for x in (q_BTHK * scale, k_BTHK, v_BTHV))
    sum_MCG = None if log_decay_BTHG is None else split_chunks(log_decay_BTHG, C).cumsum(1)
    out_MCV = torch.bmm(_weights(q_MCK, k_MCK, sum_MCG), v_MCV)
    if T > C:
        carry_MG1 = None
        if sum_MCG is not None:
            q_MCK = q_MCK * sum_MCG.exp()
            k_MCK = k_MCK * (sum_MCG[:, -1:] - sum_MCG).exp()
            carry_MG1 = sum_MCG[:, -1, :, None].exp()
        state_MKV = _carry_states(torch.bmm(k_MCK.mT, v_MCV), carry_MG1, heads=B * H)
        out_MCV = torch.baddbmm(out_MCV, q_MCK, state_MKV)
    return join_chunks(out_MCV, B, T, H)


def _weights(q_MCK: Tensor, k_MCK: Tensor, sum_MCG: Tensor | None) -> Tensor:
    """Attention of each token of a chunk to itself and those before it in the chunk [M, C, C]."""
    C = q_MCK.shape[1]
    ones_CC = q_MCK.new_ones(C, C)
    if sum_MCG is None:
        return torch.bmm(q_MCK, k_MCK.mT) * ones_CC.tril()
    future_CC = (ones_CC * -torch.inf).triu(1)
    if sum_MCG.shape[-1] == 1:
        return torch.bmm(q_MCK, k_MCK.mT) * (sum_MCG - sum_MCG.mT + future_CC).exp()
    weights_MCC: Tensor = _ChannelWeights.apply(q_MCK, k_MCK, sum_MCG, future_CC)
    return weights_MCC


class _ChannelWeights(torch.autograd.Function):
    """Weights sum_K q_iK k_jK exp(G_iK - G_jK), with its own gradient (a third faster)."""

    @staticmethod
    def forward(ctx: Any, q_MCK: Tensor, k_MCK: Tensor, sum_MCK: Tensor, future_CC: Tensor) -> Tensor:
        decay_MCCK = (sum_MCK[:, :, None] - sum_MCK[:, None]).add_(future_CC[..., None]).exp_()
        ctx.save_for_backward(q_MCK, k_MCK, decay_MCCK)
        return torch.matmul(decay_MCCK * k_MCK[:, None], q_MCK[..., None])[..., 0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (grad_MCC,) = grads
        q_MCK, k_MCK, decay_MCCK = ctx.saved_tensors
        grad_MCCK = decay_MCCK * grad_MCC[..., None]
        grad_q_MCK = (grad_MCCK * k_MCK[:, None]).sum(2)
        grad_k_MCK = (grad_MCCK * q_MCK[:, :, None]).sum(1)
        # G enters only as q exp(G) and k exp(-G) (arXiv 2312.06635).
        return grad_q_MCK, grad_k_MCK, q_MCK * grad_q_MCK - k_MCK * grad_k_MCK, None


def _carry_states(local_MKV: Tensor, carry_MG1: Tensor | None, heads: int) -> Tensor:
    """The state before each chunk, from what each chunk adds to it and how far each chunk decays it."""
    local_NPKV = local_MKV.unflatten(0, (-1, heads))
    carries = None if carry_MG1 is None else carry_MG1.unflatten(0, (-1, heads)).unbind(0)
    added = local_NPKV.unbind(0)
    states = [torch.zeros_like(added[0]), added[0]]
    for n in range(1, len(added) - 1):
        decayed_PKV = states[-1] if carries is None else states[-1] * carries[n]
        states.append(decayed_PKV + added[n])
    return torch.cat(states)
