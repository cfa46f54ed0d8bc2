"""The delta rule in chunks (WY form; arXiv 2406.06484 section 3, with decay arXiv 2412.06464 section 3).

Within a chunk the written changes u_i solve a unit lower triangular system,
    u_i + beta_i sum_{j<i} exp(G_i - G_j) (k_i . k_j) u_j = beta_i (v_i - exp(G_i) S^T k_i),
with S the state before the chunk and G the running sum of the log decay. It is solved by substitution, which
stays accurate on near-repeated keys, where the powers in a series for the inverse explode. The right-hand
side is linear in S, so all chunks are solved at once for U (the part of v) and W (the part of S), and only S
goes from chunk to chunk. Where the inverse of that system is asked for in a lower precision, it is written out:
the substitution is then applied to the identity.

Shapes: B batch, T time, H heads, K key, V value features, C chunk size, M = chunks*B*H, P = B*H.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.chunks import join_chunks, split_chunks


def delta_rule_chunk(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay_BTH: Tensor | None,
    chunk_decay_BNH: Tensor | None,
    inverse_dtype: torch.dtype | None,
    output_final_state: bool,
    scale: float,
    chunk_size: int,
) -> tuple[Tensor, Tensor | None]:
    """`kernels.delta_rule`, in chunks; arguments already checked and of one dtype."""
    B, T, H, _ = q_BTHK.shape
    C = min(chunk_size, T)
    q_MCK, k_MCK, v_MCV = (split_chunks(x, C) for x in (q_BTHK * scale, k_BTHK, v_BTHV))
    beta_MC1 = split_chunks(beta_BTH[..., None], C)
    bk_MCK, bv_MCV = k_MCK * beta_MC1, v_MCV * beta_MC1

    carry_M11 = None if chunk_decay_BNH is None else chunk_decay_BNH.transpose(0, 1).reshape(-1, 1, 1)
    ones_CC = q_MCK.new_ones(C, C)
    if log_decay_BTH is None:
        decay_MCC = ones_CC.tril()
    else:
        sum_MC1 = split_chunks(log_decay_BTH[..., None], C).cumsum(1)
        # Future positions become exp(-inf) = 0; no exponent is ever positive.
        decay_MCC = (sum_MC1 - sum_MC1.mT + (ones_CC * -torch.inf).triu(1)).exp()
    # The transposed system (upper, from the right) is the one that needs no copies of row-major tensors.
    system_MCC = torch.bmm(k_MCK, bk_MCK.mT) * decay_MCC.mT
    weights_MCC = torch.bmm(q_MCK, k_MCK.mT) * decay_MCC
    if log_decay_BTH is not None:
        since_start_MC1 = sum_MC1.exp()
        q_MCK, bk_MCK = q_MCK * since_start_MC1, bk_MCK * since_start_MC1
        k_MCK = k_MCK * (sum_MC1[:, -1:] - sum_MC1).exp()
        carry_M11 = since_start_MC1[:, -1:]

    if T == C:
        u_MCV = _solve(system_MCC, bv_MCV, inverse_dtype)
        out_MCV = torch.bmm(weights_MCC, u_MCV)
        final_PKV = torch.bmm(k_MCK.mT, u_MCV) if output_final_state else None
        if final_PKV is not None and carry_M11 is not None:
            final_PKV = final_PKV + 0 * carry_M11  # times a state of zeros: its gradient is zero, not missing
    else:
        uw_MCX = _solve(system_MCC, torch.cat([bv_MCV, bk_MCK], dim=-1), inverse_dtype)
        u_MCV, w_MCK = uw_MCX.split([v_MCV.shape[-1], k_MCK.shape[-1]], dim=-1)
        u_MCV, state_MKV, final_PKV = _carry_states(u_MCV, w_MCK, k_MCK, carry_M11, B * H, output_final_state)
        out_MCV = torch.baddbmm(torch.bmm(weights_MCC, u_MCV), q_MCK, state_MKV)
    return join_chunks(out_MCV, B, T, H), None if final_PKV is None else final_PKV.unflatten(0, (B, H))


def _solve(system_MCC: Tensor, right_MCX: Tensor, inverse_dtype: torch.dtype | None) -> Tensor:
    """X with (I + strict lower part of system^T) X = right; the rest of `system` is not read."""
    if inverse_dtype is not None:
        identity_CC = torch.eye(system_MCC.shape[-1], dtype=system_MCC.dtype, device=system_MCC.device)
        inverse_MCC = _substitute(system_MCC, identity_CC.expand_as(system_MCC))
        return torch.bmm(inverse_MCC.to(inverse_dtype).to(right_MCX.dtype), right_MCX)
    return _substitute(system_MCC, right_MCX)


def _substitute(system_MCC: Tensor, right_MCX: Tensor) -> Tensor:
    x_MXC = torch.linalg.solve_triangular(system_MCC, right_MCX.mT, upper=True, left=False, unitriangular=True)
    solution_MCX: Tensor = x_MXC.mT
    return solution_MCX


def _carry_states(
    u_MCV: Tensor,
    w_MCK: Tensor,
    k_MCK: Tensor,
    carry_M11: Tensor | None,
    heads: int,
    output_final_state: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The changes with the incoming state taken into account, the state before each chunk, and the last one."""
    u_NPCV, w_NPCK, k_NPCK = (x.unflatten(0, (-1, heads)).unbind(0) for x in (u_MCV, w_MCK, k_MCK))
    carries = None if carry_M11 is None else carry_M11.unflatten(0, (-1, heads)).unbind(0)
    change_PCV = u_NPCV[0]
    state_PKV = torch.bmm(k_NPCK[0].mT, change_PCV)
    changes, states = [change_PCV], [torch.zeros_like(state_PKV), state_PKV]
    for n in range(1, len(u_NPCV)):
        change_PCV = torch.baddbmm(u_NPCV[n], w_NPCK[n], state_PKV, alpha=-1)
        changes.append(change_PCV)
        if n + 1 < len(u_NPCV) or output_final_state:
            decayed_PKV = state_PKV if carries is None else state_PKV * carries[n]
            state_PKV = torch.baddbmm(decayed_PKV, k_NPCK[n].mT, change_PCV)
            states.append(state_PKV)
    final_PKV = states.pop() if output_final_state else None
    return torch.cat(changes), torch.cat(states), final_PKV
