"""The delta rule by the kernels of triton.py, as PyTorch operators. Imported only when chosen.

Shapes: B batch, T time, H heads, D features, N chunks, C tokens of a chunk, P = B*H.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from kernels.arguments import working_dtype
from kernels.delta_rule import triton as kernels

CHUNK = 32  # tokens of a chunk where the caller's does not matter
_TRITON_DTYPES = {
    torch.float64: tl.float64,
    torch.float32: tl.float32,
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
}


def delta_rule_triton(
    q_BTHD: Tensor,
    k_BTHD: Tensor,
    v_BTHD: Tensor,
    beta_BTH: Tensor,
    log_decay_BTH: Tensor | None,
    chunk_decay_BNH: Tensor | None,
    inverse_dtype: torch.dtype | None,
    output_final_state: bool,
    scale: float,
    chunk_size: int,
) -> tuple[Tensor, Tensor | None]:
    """`kernels.delta_rule`; arguments already checked."""
    tensors = (q_BTHD, k_BTHD, v_BTHD, beta_BTH, log_decay_BTH, chunk_decay_BNH)
    if chunk_decay_BNH is None and inverse_dtype is None:
        chunk_size = CHUNK
    out, final, _, _ = _forward(*tensors, inverse_dtype, output_final_state, scale, chunk_size)
    return out, final if output_final_state else None


@torch.library.custom_op("archaudit::delta_rule", mutates_args=())
def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    chunk_decay: Tensor | None,
    inverse_dtype: torch.dtype | None,
    output_final_state: bool,
    scale: float,
    chunk_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The outputs and the final state (empty if not asked for); T and the states, for the backward pass."""
    q, k, v, beta, log_decay = _contiguous(q, k, v, beta, log_decay)
    constants = _constants((q, k, v, beta, log_decay, chunk_decay), inverse_dtype, chunk_size)
    out, final, inverse, states = _empty_outputs(
        (q, k, v, beta, log_decay, chunk_decay), chunk_size, output_final_state
    )
    matrix, added, carry = _empty_maps(states, inverse.dtype, log_decay, chunk_decay)
    (_, T, H, D), (P, N, C, _) = q.shape, inverse.shape
    exact = "ieee" if constants["PRECISION"] == "ieee" else "tf32x3"
    last = final if output_final_state else None
    with torch.cuda.device_of(q):
        kernels.maps[(P * N,)](
            k, v, beta, log_decay, inverse, matrix, added, carry, T, H, N,
            EXACT=exact, num_warps=kernels.warps("maps", D, C), **constants,
        )  # fmt: skip
        _scan(matrix, added, carry, None, states, last, constants["PRECISION"], reverse=False)
        kernels.outputs[(P * N,)](
            q, k, v, beta, log_decay, inverse, states, out, scale, T, H, N,
            num_warps=kernels.warps("outputs", D, C), **constants,
        )  # fmt: skip
    return out, final, inverse, states


@torch.library.custom_op("archaudit::delta_rule_backward", mutates_args=())
def _backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    chunk_decay: Tensor | None,
    inverse: Tensor,
    states: Tensor,
    grad_out: Tensor,
    grad_final: Tensor | None,
    inverse_dtype: torch.dtype | None,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v, beta, log_decay and chunk_decay; empty for an argument that was not given."""
    q, k, v, beta, log_decay, grad_out, grad_final = _contiguous(q, k, v, beta, log_decay, grad_out, grad_final)
    (_, T, H, D), (P, N, C, _) = q.shape, inverse.shape
    constants = _constants((q, k, v, beta, log_decay, chunk_decay), inverse_dtype, C)
    dq, dk, dv, dbeta, dlog_decay, dchunk_decay = _empty_gradients(q, k, v, beta, log_decay, chunk_decay)
    matrix, added, carry = _empty_maps(states, inverse.dtype, log_decay, chunk_decay)
    grad_states = torch.empty_like(states)
    dcarry = None if chunk_decay is None else inverse.new_empty(P, N)
    with torch.cuda.device_of(q):
        kernels.maps_backward[(P * N,)](
            q, k, beta, log_decay, inverse, grad_out, matrix, added, carry, scale, T, H, N,
            num_warps=kernels.warps("maps_backward", D, C), **constants,
        )  # fmt: skip
        _scan(matrix, added, carry, grad_final, grad_states, None, constants["PRECISION"], reverse=True)
        kernels.gradients[(P * N,)](
            q, k, v, beta, log_decay, inverse, states, grad_out, grad_states,
            dq, dk, dv, dbeta, dlog_decay, dcarry, scale, T, H, N,
            CARRY=dcarry is not None, ROUNDED=inverse_dtype is not None,
            num_warps=kernels.warps("gradients", D, C), **constants,
        )  # fmt: skip
    if dcarry is not None:
        dchunk_decay.copy_(dcarry.view(-1, H, N).transpose(1, 2))
    return dq, dk, dv, dbeta, dlog_decay, dchunk_decay


def _contiguous(*tensors: Any) -> list[Any]:
    return [None if tensor is None else tensor.contiguous() for tensor in tensors]


def _operand_dtype(tensors: tuple[Tensor | None, ...]) -> torch.dtype:
    """bfloat16 where q, k and v are and nothing else is float64, or the dtype of sums."""
    acc = working_dtype(*tensors)
    low = acc == torch.float32 and all(x is not None and x.dtype == torch.bfloat16 for x in tensors[:3])
    return torch.bfloat16 if low else acc


def _constants(tensors: tuple[Tensor | None, ...], inverse_dtype: torch.dtype | None, C: int) -> dict[str, Any]:
    """What the kernels over chunks are compiled for; `tensors` are all arguments, q, k and v first."""
    q, acc = tensors[0], working_dtype(*tensors)
    assert q is not None
    low = all(x is not None and x.dtype.itemsize == 2 for x in tensors[:3])
    # Read here, within the operators: torch.compile does not trace it.
    precise = torch.get_float32_matmul_precision() == "highest" and not low
    return {
        "D": q.shape[-1],
        "C": C,
        "GATED": tensors[4] is not None,
        "ROUND": _TRITON_DTYPES[inverse_dtype or acc],
        "OPERAND": _TRITON_DTYPES[_operand_dtype(tensors)],
        "ACC": _TRITON_DTYPES[acc],
        # Three TF32 products reach the precision of float32 on tensor cores; without these the tiles spill by far.
        "PRECISION": "ieee" if acc == torch.float64 else "tf32x3" if precise else "tf32",
    }


def _empty_outputs(
    tensors: tuple[Tensor | None, ...], C: int, output_final_state: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    v = tensors[2]
    assert v is not None
    B, T, H, D = v.shape
    N = -(-T // C)
    final_shape = (B, H, D, D) if output_final_state else (0,)
    return (
        v.new_empty(v.shape),
        v.new_empty(final_shape),
        v.new_empty(B * H, N, C, C, dtype=working_dtype(*tensors)),
        v.new_empty(B * H, N, D, D, dtype=_operand_dtype(tensors)),
    )


def _empty_maps(
    states: Tensor, acc: torch.dtype, log_decay: Tensor | None, chunk_decay: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Room for M and X of every chunk, and the factors on its incoming state [P, N]: given, to be written, or none."""
    matrix, added = (states.new_empty(states.shape, dtype=acc) for _ in range(2))
    if chunk_decay is not None:
        return matrix, added, chunk_decay.transpose(1, 2).to(acc).contiguous()
    return matrix, added, None if log_decay is None else states.new_empty(states.shape[:2], dtype=acc)


def _empty_gradients(q: Tensor, *others: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    dk, dv, dbeta, dlog_decay, dchunk_decay = (
        q.new_empty(0) if other is None else other.new_empty(other.shape) for other in others
    )
    return q.new_empty(q.shape), dk, dv, dbeta, dlog_decay, dchunk_decay


def _scan(
    matrix: Tensor,
    added: Tensor,
    carry: Tensor | None,
    first: Tensor | None,
    states: Tensor,
    last: Tensor | None,
    precision: str,
    *,
    reverse: bool,
) -> None:
    P, N, D, _ = states.shape
    kernels.scan[(P * (D // kernels.COLUMNS),)](
        matrix, added, carry, first, states, last, N,
        D=D, E=kernels.COLUMNS, REVERSE=reverse,
        CARRY=carry is not None, FIRST=first is not None, LAST=last is not None,
        ACC=_TRITON_DTYPES[matrix.dtype], PRECISION=precision,
        num_warps=kernels.warps("scan", D, D), num_stages=3,
    )  # fmt: skip


@_forward.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    chunk_decay: Tensor | None,
    _inverse_dtype: torch.dtype | None,
    output_final_state: bool,
    _scale: float,
    chunk_size: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _empty_outputs((q, k, v, beta, log_decay, chunk_decay), chunk_size, output_final_state)


@_backward.register_fake
def _(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    chunk_decay: Tensor | None,
    *_others: object,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _empty_gradients(q, k, v, beta, log_decay, chunk_decay)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, inverse_dtype, output_final_state, scale, _ = inputs
    ctx.save_for_backward(*tensors, *output[2:])
    ctx.options = inverse_dtype, scale
    ctx.has_final = output_final_state
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad_out: Tensor | None, grad_final: Tensor | None, *_others: object) -> tuple[Any, ...]:
    *tensors, inverse, states = ctx.saved_tensors
    if grad_out is None:  # only the final state was used
        grad_out = torch.zeros_like(tensors[2])
    grads = _backward(*tensors, inverse, states, grad_out, grad_final if ctx.has_final else None, *ctx.options)
    given = (None if tensor is None else grad for tensor, grad in zip(tensors, grads, strict=True))
    return *given, None, None, None, None


_forward.register_autograd(_differentiate, setup_context=_save)


def _products(q: Sequence[int], C: int) -> int:
    """FLOPs of the form chunk, so that what a model costs does not depend on where it runs."""
    B, T, H, D = q
    return 6 * B * T * H * D * (C + D)  # three products within the chunk, three with the state


@register_flop_formula(torch.ops.archaudit.delta_rule)
def _forward_products(*shapes: Any, **more: object) -> int:
    return _products(shapes[0], shapes[-1])


@register_flop_formula(torch.ops.archaudit.delta_rule_backward)
def _backward_products(*shapes: Any, **more: object) -> int:
    """Two products for each of the forward pass, and the gradient of the triangular system for V and K."""
    (B, T, H, D), C = shapes[0], int(shapes[6][-1])
    return 2 * _products(shapes[0], C) + 4 * int(B * T * H * D) * C
