"""The delta rule, plain and gated."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from kernels.arguments import check_chunk_size, check_rank, check_tensor, own_precision, working_dtype
from kernels.backends import INTERPRETED, Backend, choose_backend
from kernels.delta_rule.chunk import delta_rule_chunk
from kernels.delta_rule.naive import delta_rule_naive, delta_rule_naive_inverse

__all__ = ["delta_rule"]

SIZES = (16, 32, 64)  # head sizes and chunk sizes of the Triton form
_LOW = (torch.bfloat16, torch.float16)


@overload
def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    *,
    chunk_decay: Tensor | None = None,
    inverse_dtype: torch.dtype | None = None,
    output_final_state: Literal[False] = False,
    scale: float = 1.0,
    chunk_size: int = 32,
    backend: Backend = "auto",
) -> Tensor: ...


@overload
def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    *,
    chunk_decay: Tensor | None = None,
    inverse_dtype: torch.dtype | None = None,
    output_final_state: Literal[True],
    scale: float = 1.0,
    chunk_size: int = 32,
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]: ...


@own_precision
def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    *,
    chunk_decay: Tensor | None = None,
    inverse_dtype: torch.dtype | None = None,
    output_final_state: bool = False,
    scale: float = 1.0,
    chunk_size: int = 32,
    backend: Backend = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Online regression of values on keys, one gradient step a token, read out by the queries.

        S_t = a_t S_{t-1} + beta_t k_t (v_t - a_t S_{t-1}^T k_t)^T,   a_t = exp(log_decay_t)
        o_t = scale * S_t^T q_t

    The state S [K, V] starts at zero. Without `log_decay` this is DeltaNet (arXiv 2406.06484, section 2.2);
    with it, Gated DeltaNet (arXiv 2412.06464, section 3.1). With keys of unit length the state stays bounded
    for beta in [0, 2].

    Args:
        q, k: queries and keys [B, T, H, K].
        v: values [B, T, H, V].
        beta: step sizes [B, T, H].
        log_decay: natural logarithms of the decay [B, T, H], finite and at most 0.
        chunk_decay: factors [B, N, H], one for each of the N = ceil(T / chunk_size) chunks. The state carried
            out of a chunk is its factor times the state carried in, plus what the chunk wrote. Not with
            `log_decay`.
        inverse_dtype: bfloat16 or float16. The inverse of a chunk's unit triangular matrix
            I + (strict lower part of beta K K^T, decayed) is rounded to it before it is used, and so is the
            gradient with respect to that inverse. Some published programs do this.
        output_final_state: also return the state after the last token.
        scale: factor on the output.
        chunk_size: tokens solved together. 32 is the fastest on a CPU at head sizes of 16 to 32. With
            `chunk_decay` or `inverse_dtype` it is part of what is computed; otherwise it only matters for
            speed, and the GPU forms choose their own.
        backend: "naive", "chunk", "triton", "fla" or "auto" (`kernels.backends`).

    Returns the outputs [B, T, H, V], or those and the final state [B, H, K, V], in the dtype of `v`.
    Accumulated in float32, or in float64 if any argument is.

    Raises ValueError for a wrong shape, a dtype that is not floating point, both kinds of decay, a chunk size
    below 1, another `inverse_dtype`, or a backend that is unknown or cannot serve the call.
    """
    _check(q, k, v, beta, log_decay, chunk_decay, inverse_dtype, chunk_size)
    limits = {
        "triton": _triton_limit(q, k, v, beta, log_decay, chunk_decay, inverse_dtype, chunk_size),
        "fla": _fla_limit(q, k, v, beta, log_decay, chunk_decay, inverse_dtype),
    }
    chosen = choose_backend("delta_rule", backend, q, limits)
    if chosen == "triton":
        from kernels.delta_rule.launch import delta_rule_triton

        out, state = delta_rule_triton(
            q, k, v, beta, log_decay, chunk_decay, inverse_dtype, output_final_state, scale, chunk_size
        )
    elif chosen == "fla":
        from kernels.delta_rule.fla import delta_rule_fla

        out, state = delta_rule_fla(q, k, v, beta, log_decay, output_final_state, scale)
    else:
        dtype = working_dtype(q, k, v, beta, log_decay, chunk_decay)
        log_decay, chunk_decay = (None if x is None else x.to(dtype) for x in (log_decay, chunk_decay))
        inputs = q.to(dtype), k.to(dtype), v.to(dtype), beta.to(dtype), log_decay, chunk_decay
        if chosen == "chunk":
            out, state = delta_rule_chunk(*inputs, inverse_dtype, output_final_state, scale, chunk_size)
        elif inverse_dtype is not None:
            out, state = delta_rule_naive_inverse(*inputs, scale, chunk_size, inverse_dtype)
        else:
            out, state = delta_rule_naive(*inputs, scale, chunk_size)
        out = out.to(v.dtype)
    if not output_final_state:
        return out
    assert state is not None
    return out, state.to(v.dtype)


def _check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    chunk_decay: Tensor | None,
    inverse_dtype: torch.dtype | None,
    chunk_size: int,
) -> None:
    check_rank("q", q, "[B, T, H, K]")
    check_rank("v", v, "[B, T, H, V]")
    B, T, H, _ = q.shape
    check_tensor("k", k, tuple(q.shape), "[B, T, H, K]")
    check_tensor("v", v, (B, T, H, v.shape[-1]), "[B, T, H, V]")
    check_tensor("beta", beta, (B, T, H), "[B, T, H]")
    check_chunk_size(chunk_size)
    if log_decay is not None:
        check_tensor("log_decay", log_decay, (B, T, H), "[B, T, H]")
    if chunk_decay is not None:
        if log_decay is not None:
            raise ValueError("chunk_decay and log_decay exclude each other; give one of them")
        check_tensor("chunk_decay", chunk_decay, (B, -(-T // chunk_size), H), "[B, ceil(T / chunk_size), H]")
    if inverse_dtype not in (None, *_LOW):
        raise ValueError(f"inverse_dtype must be torch.bfloat16, torch.float16 or None, not {inverse_dtype}")


def _triton_limit(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    chunk_decay: Tensor | None,
    inverse_dtype: torch.dtype | None,
    chunk_size: int,
) -> str | None:
    """Why the Triton form cannot serve a call, or None."""
    if q.shape[-1] != v.shape[-1] or q.shape[-1] not in SIZES:
        return f"it serves equal head sizes K = V of 16, 32 or 64, not {q.shape[-1]} and {v.shape[-1]}"
    if (chunk_decay is not None or inverse_dtype is not None) and chunk_size not in SIZES:
        return f"with chunk_decay or inverse_dtype it serves a chunk_size of 16, 32 or 64, not {chunk_size}"
    if working_dtype(q, k, v, beta, log_decay, chunk_decay) == torch.float64 and not INTERPRETED:
        return "float64 is for its proof in Triton's interpreter; use chunk"
    return None


def _fla_limit(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None,
    chunk_decay: Tensor | None,
    inverse_dtype: torch.dtype | None,
) -> str | None:
    """Why flash-linear-attention cannot serve a call, or None."""
    if chunk_decay is not None or inverse_dtype is not None:
        return "it has neither chunk_decay nor inverse_dtype"
    if not q.dtype == k.dtype == v.dtype or q.dtype not in _LOW:
        return "it serves q, k and v of one dtype, bfloat16 or float16"
    if working_dtype(beta, log_decay) == torch.float64:
        return "it does not serve float64"
    if q.shape[-1] > 256:
        return f"it serves key sizes of at most 256, not {q.shape[-1]}"
    return None
