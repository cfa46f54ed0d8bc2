"""The delta rule as Triton kernels, for small heads (K = V = D of 16, 32 or 64). Launched by launch.py.

With K^ = exp(G) k, K~ = exp(G_last - G) k and T the inverse of a chunk's unit triangular matrix, the state goes
through a chunk by a linear map that does not depend on it,

    S' = carry S + M S + X,   M = -K~^T T beta K^,   X = K~^T T beta V

(arXiv 2406.06484 section 3.2, arXiv 2412.06464 section 3.2, multiplied out). At small D the two matrices M and X
[D, D] are cheap to form, for all chunks at once, and the only serial work left is one small product a chunk. The
gradient of the state goes back by the transposed map, so the same scan serves it. Three kernels forward (`maps`,
`scan`, `outputs`), three backward (`maps_backward`, `scan`, `gradients`); every program writes tiles of its own,
so nothing is summed in an order that could vary.

Shapes: B batch, T time, H heads, D features, N chunks, C tokens of a chunk, P = B*H.
Types: ACC is that of sums and of products with T; OPERAND that of the other products (bfloat16 where q, k and v are,
else ACC); ROUND that to which T is rounded before use (ACC: not rounded).
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

from kernels.sm90 import Compilation

COLUMNS = 16  # columns of the state that one program scans


@triton.jit
def unit_lower_inverse(system_CC, C: tl.constexpr, PRECISION: tl.constexpr):
    """(I + A)^-1, with A the strict lower part of a square tile of 16, 32 or 64 rows.

    By substitution: row by row within the diagonal blocks of 16 (all blocks at once), then block by block, each time
    from two inverses to that of the block twice as large. Accurate on near-repeated keys, unlike a series of powers.
    """
    R: tl.constexpr = 16
    N: tl.constexpr = C // R
    block = tl.arange(0, N)
    same_N1N1 = block[:, None, None, None] == block[None, None, :, None]
    i_R = tl.arange(0, R)
    # The diagonal blocks [N, R, R] of the tile seen as [N, R, N, R].
    system_NRR = tl.sum(tl.where(same_N1N1, tl.reshape(system_CC, [N, R, N, R]), 0.0), 2)
    identity_RR = (i_R[:, None] == i_R[None, :]).to(system_CC.dtype)
    inverse_NRR = tl.broadcast_to(identity_RR[None, :, :], [N, R, R])
    for r in range(1, R):
        here_R1 = i_R[None, :, None] == r
        row_NR = tl.sum(tl.where(here_R1 & (i_R[None, None, :] < r), system_NRR, 0.0), 1)
        row_NR = tl.sum(row_NR[:, :, None] * inverse_NRR, 1)
        inverse_NRR = tl.where(here_R1, inverse_NRR - row_NR[:, None, :], inverse_NRR)
    full_NRNR = tl.where(same_N1N1, inverse_NRR[:, :, None, :], 0.0)
    inverse_CC = tl.reshape(full_NRNR, [C, C])
    i_C = tl.arange(0, C)
    if C > 16:
        inverse_CC = _join_pairs(system_CC, inverse_CC, i_C, 16, PRECISION)
    if C > 32:
        inverse_CC = _join_pairs(system_CC, inverse_CC, i_C, 32, PRECISION)
    return inverse_CC


@triton.jit
def _join_pairs(system_CC, inverse_CC, i_C, R: tl.constexpr, PRECISION: tl.constexpr):
    """From the inverses of diagonal blocks of R rows to those of 2 R rows."""
    pair_CC = (i_C[:, None] // (2 * R)) == (i_C[None, :] // (2 * R))
    below_CC = pair_CC & ((i_C[:, None] // R) > (i_C[None, :] // R))
    corner_CC = tl.where(below_CC, system_CC, 0.0)
    corner_CC = tl.dot(corner_CC, inverse_CC, input_precision=PRECISION)
    return inverse_CC - tl.dot(inverse_CC, corner_CC, input_precision=PRECISION)


@triton.jit
def _rows(pid, T, H, N, C: tl.constexpr):
    """The row of each of a chunk's tokens in [B*T*H, ...], which of them exist, and their position in the chunk."""
    head, n = pid // N, pid % N
    i_C = tl.arange(0, C)
    t_C = n * C + i_C
    row_C = ((head // H).to(tl.int64) * T + t_C) * H + head % H
    return row_C, t_C < T, i_C


@triton.jit
def _tile(pointer, row_C, there_C, D: tl.constexpr, dtype: tl.constexpr):
    at_CD = row_C[:, None] * D + tl.arange(0, D)[None, :]
    return tl.load(pointer + at_CD, mask=there_C[:, None], other=0.0).to(dtype)


@triton.jit
def _put_tile(pointer, row_C, there_C, value_CD, D: tl.constexpr):
    at_CD = row_C[:, None] * D + tl.arange(0, D)[None, :]
    tl.store(pointer + at_CD, value_CD.to(pointer.dtype.element_ty), mask=there_C[:, None])


@triton.jit
def _square(pid, X: tl.constexpr, Y: tl.constexpr):
    """Offsets of the matrix [X, Y] number `pid` of a buffer of them."""
    return pid.to(tl.int64) * X * Y + tl.arange(0, X)[:, None] * Y + tl.arange(0, Y)[None, :]


@triton.jit
def _decays(log_decay, row_C, there_C, i_C, GATED: tl.constexpr, ACC: tl.constexpr):
    """exp(G), exp(G_last - G), exp(G_i - G_j) for j <= i and 0 elsewhere, and exp(G_last)."""
    seen_CC = i_C[:, None] >= i_C[None, :]
    if GATED:
        step_C = tl.load(log_decay + row_C, mask=there_C, other=0.0).to(ACC)
        sum_C = tl.cumsum(step_C, 0)
        last = tl.sum(step_C, 0)
        between_CC = tl.where(seen_CC, sum_C[:, None] - sum_C[None, :], float("-inf"))
        # The running and the plain sum may differ in the last bit: no exponent may be positive.
        return tl.exp(sum_C), tl.exp(tl.minimum(last - sum_C, 0.0)), tl.exp(between_CC), tl.exp(last)
    one_C = tl.full(i_C.shape, 1.0, ACC)
    return one_C, one_C, seen_CC.to(ACC), 1.0


@triton.jit
def maps(
    k, v, beta, log_decay, inverse, matrix, added, carry, T, H, N,
    D: tl.constexpr, C: tl.constexpr, GATED: tl.constexpr, ROUND: tl.constexpr,
    OPERAND: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """T, and the map M, X of the state through each chunk."""
    pid = tl.program_id(0)
    row_C, there_C, i_C = _rows(pid, T, H, N, C)
    start_C, end_C, between_CC, last = _decays(log_decay, row_C, there_C, i_C, GATED, ACC)
    beta_C = tl.load(beta + row_C, mask=there_C, other=0.0).to(ACC)
    k_CD = _tile(k, row_C, there_C, D, OPERAND)
    system_CC = tl.dot(k_CD, tl.trans(k_CD), input_precision=EXACT) * between_CC * beta_C[:, None]
    inverse_CC = unit_lower_inverse(system_CC, C, EXACT)
    tl.store(inverse + _square(pid, C, C), inverse_CC)
    inverse_CC = inverse_CC.to(ROUND).to(ACC)

    k_CD = k_CD.to(ACC)
    u_CD = tl.dot(inverse_CC, _tile(v, row_C, there_C, D, ACC) * beta_C[:, None], input_precision=PRECISION)
    w_CD = tl.dot(inverse_CC, k_CD * (beta_C * start_C)[:, None], input_precision=PRECISION)
    k_DC = tl.trans(k_CD * end_C[:, None])
    tl.store(added + _square(pid, D, D), tl.dot(k_DC, u_CD, input_precision=PRECISION))
    tl.store(matrix + _square(pid, D, D), -tl.dot(k_DC, w_CD, input_precision=PRECISION))
    if GATED:
        tl.store(carry + pid, last)


@triton.jit
def scan(
    matrix, added, carry, first, states, last, N,
    D: tl.constexpr, E: tl.constexpr, REVERSE: tl.constexpr, CARRY: tl.constexpr,
    FIRST: tl.constexpr, LAST: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """States before each chunk (or, in reverse, their gradients after it), for E columns of a head."""
    pid = tl.program_id(0).to(tl.int64)
    head, column = pid // (D // E), pid % (D // E) * E
    i_D, j_E = tl.arange(0, D), column + tl.arange(0, E)
    at_DE = i_D[:, None] * D + j_E[None, :]
    at_DD = i_D[:, None] * D + i_D[None, :]
    state_DE = tl.zeros([D, E], ACC)
    if FIRST:
        state_DE = tl.load(first + head * D * D + at_DE).to(ACC)
    steps = N
    if not LAST:
        steps = N - 1
    for step in range(steps):
        n = head * N + step
        if REVERSE:
            n = head * N + N - 1 - step
        tl.store(states + n * D * D + at_DE, state_DE.to(states.dtype.element_ty))
        kept_DE = tl.load(added + n * D * D + at_DE)
        if CARRY:
            kept_DE += state_DE * tl.load(carry + n)
        else:
            kept_DE += state_DE
        # The identity part stays out of the product, which may round its operands.
        matrix_DD = tl.load(matrix + n * D * D + at_DD)
        state_DE = kept_DE + tl.dot(matrix_DD, state_DE, input_precision=PRECISION)
    if LAST:
        tl.store(last + head * D * D + at_DE, state_DE.to(last.dtype.element_ty))
    else:
        n = head * N + N - 1
        if REVERSE:
            n = head * N
        tl.store(states + n * D * D + at_DE, state_DE.to(states.dtype.element_ty))


@triton.jit
def outputs(
    q, k, v, beta, log_decay, inverse, states, out, scale, T, H, N,
    D: tl.constexpr, C: tl.constexpr, GATED: tl.constexpr, ROUND: tl.constexpr,
    OPERAND: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """o = scale (exp(G) q S + P change), with the change of the state T beta (V - K^ S)."""
    pid = tl.program_id(0)
    row_C, there_C, i_C = _rows(pid, T, H, N, C)
    start_C, _, between_CC, _ = _decays(log_decay, row_C, there_C, i_C, GATED, ACC)
    beta_C = tl.load(beta + row_C, mask=there_C, other=0.0).to(ACC)
    k_CD = _tile(k, row_C, there_C, D, OPERAND)
    state_DD = tl.load(states + _square(pid, D, D))
    recalled_CD = tl.dot(k_CD, state_DD, input_precision=PRECISION) * start_C[:, None]
    right_CD = (_tile(v, row_C, there_C, D, ACC) - recalled_CD) * beta_C[:, None]
    inverse_CC = tl.load(inverse + _square(pid, C, C)).to(ROUND).to(ACC)
    change_CD = tl.dot(inverse_CC, right_CD, input_precision=PRECISION).to(OPERAND)
    q_CD = _tile(q, row_C, there_C, D, OPERAND)
    weights_CC = tl.dot(q_CD, tl.trans(k_CD), input_precision=PRECISION) * between_CC
    out_CD = tl.dot(q_CD, state_DD, input_precision=PRECISION) * start_C[:, None]
    out_CD += tl.dot(weights_CC.to(OPERAND), change_CD, input_precision=PRECISION)
    _put_tile(out, row_C, there_C, out_CD * scale, D)


@triton.jit
def maps_backward(
    q, k, beta, log_decay, inverse, grad_out, matrix, added, carry, scale, T, H, N,
    D: tl.constexpr, C: tl.constexpr, GATED: tl.constexpr, ROUND: tl.constexpr,
    OPERAND: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The map of the state's gradient back through each chunk: M^T, and what the outputs add."""
    pid = tl.program_id(0)
    row_C, there_C, i_C = _rows(pid, T, H, N, C)
    start_C, end_C, between_CC, last = _decays(log_decay, row_C, there_C, i_C, GATED, ACC)
    beta_C = tl.load(beta + row_C, mask=there_C, other=0.0).to(ACC)
    q_CD = _tile(q, row_C, there_C, D, OPERAND)
    k_CD = _tile(k, row_C, there_C, D, OPERAND)
    do_CD = _tile(grad_out, row_C, there_C, D, OPERAND)
    weights_CC = tl.dot(q_CD, tl.trans(k_CD), input_precision=PRECISION) * (between_CC * scale)
    dchange_CD = tl.dot(tl.trans(weights_CC).to(OPERAND), do_CD, input_precision=PRECISION)

    k_CD = k_CD.to(ACC)
    inverse_CC = tl.trans(tl.load(inverse + _square(pid, C, C)).to(ROUND).to(ACC))
    dright_CD = tl.dot(inverse_CC, dchange_CD, input_precision=PRECISION)
    w_CD = tl.dot(inverse_CC, k_CD * end_C[:, None], input_precision=PRECISION)
    k_DC = tl.trans(k_CD * (beta_C * start_C)[:, None])
    tl.store(matrix + _square(pid, D, D), -tl.dot(k_DC, w_CD, input_precision=PRECISION))
    q_DC = tl.trans(q_CD.to(ACC) * (start_C * scale)[:, None])
    added_DD = tl.dot(q_DC, do_CD.to(ACC), input_precision=PRECISION)
    added_DD -= tl.dot(k_DC, dright_CD, input_precision=PRECISION)
    tl.store(added + _square(pid, D, D), added_DD)
    if GATED:
        tl.store(carry + pid, last)


@triton.jit
def gradients(
    q, k, v, beta, log_decay, inverse, states, grad_out, grad_states,
    dq, dk, dv, dbeta, dlog_decay, dcarry, scale, T, H, N,
    D: tl.constexpr, C: tl.constexpr, GATED: tl.constexpr, CARRY: tl.constexpr, ROUNDED: tl.constexpr,
    ROUND: tl.constexpr, OPERAND: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """All gradients of a chunk, from the state before it and the gradient of the state after it."""
    pid = tl.program_id(0)
    row_C, there_C, i_C = _rows(pid, T, H, N, C)
    start_C, end_C, between_CC, last = _decays(log_decay, row_C, there_C, i_C, GATED, ACC)
    beta_C = tl.load(beta + row_C, mask=there_C, other=0.0).to(ACC)
    q_CD = _tile(q, row_C, there_C, D, OPERAND)
    k_CD = _tile(k, row_C, there_C, D, OPERAND)
    do_CD = _tile(grad_out, row_C, there_C, D, OPERAND)
    # T, S and k are read again where they are needed again: kept, they would take registers that spill.
    state_DD = tl.load(states + _square(pid, D, D))
    inverse_CC = tl.load(inverse + _square(pid, C, C)).to(ROUND).to(ACC)

    recalled_CD = tl.dot(k_CD, state_DD, input_precision=PRECISION) * start_C[:, None]
    error_CD = _tile(v, row_C, there_C, D, ACC) - recalled_CD
    right_CD = error_CD * beta_C[:, None]
    change_CD = tl.dot(inverse_CC, right_CD, input_precision=PRECISION)

    # Outputs: o = scale (exp(G) q S + P change), P = q k^T exp(G_i - G_j).
    weights_CC = tl.dot(q_CD, tl.trans(k_CD), input_precision=PRECISION) * (between_CC * scale)
    dweights_CC = tl.dot(do_CD, tl.trans(change_CD.to(OPERAND)), input_precision=PRECISION)
    if GATED:  # d log of a factor exp(.) is its value times its gradient
        pairs_CC = dweights_CC * weights_CC
    dweights_CC = dweights_CC * (between_CC * scale)
    dstart_CD = tl.dot(do_CD, tl.trans(state_DD), input_precision=PRECISION) * (start_C * scale)[:, None]
    dq_CD = dstart_CD + tl.dot(dweights_CC.to(OPERAND), k_CD, input_precision=PRECISION)
    _put_tile(dq, row_C, there_C, dq_CD, D)
    dk_CD = tl.dot(tl.trans(dweights_CC).to(OPERAND), q_CD, input_precision=PRECISION)
    dchange_CD = tl.dot(tl.trans(weights_CC).to(OPERAND), do_CD, input_precision=PRECISION)
    if GATED:
        rows_C = tl.sum(dstart_CD * q_CD.to(ACC), 1)

    # The state after: S' = carry S + K~^T change.
    k_CD = _tile(k, row_C, there_C, D, OPERAND)
    dstate_DD = tl.load(grad_states + _square(pid, D, D))
    dend_CD = tl.dot(change_CD.to(OPERAND), tl.trans(dstate_DD), input_precision=PRECISION) * end_C[:, None]
    dk_CD += dend_CD
    if GATED:
        ends_C = tl.sum(dend_CD * k_CD.to(ACC), 1)
        rows_C -= ends_C
    dchange_CD += tl.dot(k_CD, dstate_DD, input_precision=PRECISION) * end_C[:, None]
    inverse_CC = tl.load(inverse + _square(pid, C, C)).to(ROUND).to(ACC)
    dright_CD = tl.dot(tl.trans(inverse_CC), dchange_CD, input_precision=PRECISION)
    dvalue_CD = dright_CD * beta_C[:, None]
    _put_tile(dv, row_C, there_C, dvalue_CD, D)
    state_DD = tl.load(states + _square(pid, D, D))
    if CARRY or GATED:
        dkept = tl.sum(tl.sum(state_DD.to(ACC) * dstate_DD.to(ACC), 1), 0)
        if CARRY:
            tl.store(dcarry + pid, dkept)
    drecalled_CD = -tl.dot(dvalue_CD.to(OPERAND), tl.trans(state_DD), input_precision=PRECISION) * start_C[:, None]
    dk_CD += drecalled_CD
    if GATED:
        rows_C += tl.sum(drecalled_CD * k_CD.to(ACC), 1)
    dbeta_C = tl.sum(dright_CD * error_CD, 1)

    k_CD = _tile(k, row_C, there_C, D, OPERAND)
    start_C, end_C, between_CC, last = _decays(log_decay, row_C, there_C, i_C, GATED, ACC)
    # The inverse: T = (I + A)^-1, A = beta k k^T exp(G_i - G_j) below the diagonal.
    if ROUNDED:
        exact_CC = tl.load(inverse + _square(pid, C, C))
        dinverse_CC = tl.dot(dchange_CD, tl.trans(right_CD), input_precision=PRECISION).to(ROUND).to(ACC)
        left_CC = tl.dot(tl.trans(exact_CC), dinverse_CC, input_precision=PRECISION)
        dsystem_CC = tl.dot(left_CC, tl.trans(exact_CC), input_precision=PRECISION)
    else:  # T^T (dchange right^T) T^T, with T right = change
        dsystem_CC = tl.dot(dright_CD, tl.trans(change_CD), input_precision=PRECISION)
    dsystem_CC = tl.where(i_C[:, None] > i_C[None, :], -dsystem_CC, 0.0) * between_CC
    gram_CC = dsystem_CC * tl.dot(k_CD, tl.trans(k_CD), input_precision=PRECISION)
    dbeta_C += tl.sum(gram_CC, 1)
    tl.store(dbeta + row_C, dbeta_C.to(dbeta.dtype.element_ty), mask=there_C)
    dgram_CC = (dsystem_CC * beta_C[:, None]).to(OPERAND)
    dk_CD += tl.dot(dgram_CC, k_CD, input_precision=PRECISION)
    dk_CD += tl.dot(tl.trans(dgram_CC), k_CD, input_precision=PRECISION)
    _put_tile(dk, row_C, there_C, dk_CD, D)

    if GATED:
        pairs_CC += gram_CC * beta_C[:, None]
        rows_C += tl.sum(pairs_CC, 1) - tl.sum(pairs_CC, 0)
        dlast = dkept * last + tl.sum(ends_C, 0)
        # A step's decay enters every running sum from its token on.
        dstep_C = dlast + tl.sum(rows_C, 0) - tl.cumsum(rows_C, 0) + rows_C
        tl.store(dlog_decay + row_C, dstep_C.to(dlog_decay.dtype.element_ty), mask=there_C)


def warps(kernel: str, D: int, C: int) -> int:
    """The fewest that hold the tiles of one program: a product of C = 32 rows has work for two warps only."""
    if kernel in ("maps", "gradients") and max(D, C) > 32:
        return 8
    return 2 if max(D, C) <= 32 else 4


def _compilations(D: int, C: int, low: bool, gated: bool, rounded: bool, spilled: int) -> tuple[Compilation, ...]:
    """The kernels in one configuration: bfloat16 inputs (`low`), or float32 ones with TF32 products."""
    given = "*bf16" if low else "*fp32"
    types = dict.fromkeys(("inverse", "matrix", "added", "carry", "dcarry", "first", "last"), "*fp32")
    types |= {"scale": "fp32", "T": "i32", "H": "i32", "N": "i32"}
    carried = gated or rounded
    constants: dict[str, object] = {"D": D, "C": C, "E": COLUMNS, "GATED": gated, "ROUNDED": rounded, "ACC": tl.float32}
    constants |= {"ROUND": tl.bfloat16 if rounded else tl.float32, "OPERAND": tl.bfloat16 if low else tl.float32}
    constants |= {"PRECISION": "tf32", "EXACT": "tf32x3", "REVERSE": False, "FIRST": False, "LAST": False}
    absent = {"first", "last"} | (set() if gated else {"log_decay", "dlog_decay"}) | (set() if rounded else {"dcarry"})
    constants |= dict.fromkeys(sorted(absent if carried else absent | {"carry"}))
    label = f"{given[1:]} D{D} C{C}{' gated' if gated else ''}{' rounded' if rounded else ''}"

    def compilation(kernel: Any) -> Compilation:
        name = kernel.__name__
        fixed = constants | {"CARRY": carried if name == "scan" else rounded}
        fixed = {each: fixed[each] for each in kernel.arg_names if each in fixed}
        signature = {each: types.get(each, given) for each in kernel.arg_names if each not in fixed}
        number, spill = warps(name, D, D if name == "scan" else C), spilled if name == "gradients" else 0
        return Compilation(f"delta_rule {name} {label}", kernel, signature, fixed, number, 3, True, spill)

    return tuple(compilation(kernel) for kernel in (maps, scan, outputs, maps_backward, gradients))


COMPILATIONS = (
    *_compilations(32, 32, low=True, gated=True, rounded=False, spilled=32),
    *_compilations(64, 32, low=True, gated=False, rounded=True, spilled=0),
    *_compilations(32, 32, low=False, gated=False, rounded=True, spilled=400),  # by Triton 3.6; by 3.7 it is 160
)
