"""Linear attention with no decay, one a head, or one a key channel."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.arguments import check_chunk_size, check_rank, check_tensor, own_precision, working_dtype
from kernels.backends import Backend, choose_backend
from kernels.decay_attention.chunk import decay_attention_chunk
from kernels.decay_attention.naive import decay_attention_naive

__all__ = ["decay_attention"]


@own_precision
def decay_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor | None = None,
    *,
    scale: float = 1.0,
    chunk_size: int | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """A sum of key-value products that fades with time, read out by the queries.

        S_t = diag(exp(log_decay_t)) S_{t-1} + k_t v_t^T,   o_t = scale * S_t^T q_t

    The state S [K, V] starts at zero. One decay a head: Mamba-2 (arXiv 2405.21060) and RetNet (arXiv
    2307.08621). One a key channel: GLA (arXiv 2312.06635). None: linear attention (arXiv 2006.16236) without
    its normaliser.

    Args:
        q, k: queries and keys [B, T, H, K].
        v: values [B, T, H, V].
        log_decay: natural logarithms of the decay [B, T, H] or [B, T, H, K], finite and at most 0.
        scale: factor on the output.
        chunk_size: tokens taken together by the chunk form. The default, the fastest on a CPU at head sizes
            of 16 to 32, is 8 for a decay for each key channel and 32 otherwise. The fla form chooses its own.
        backend: "naive", "chunk", "fla" or "auto" (`kernels.backends`).

    Returns the outputs [B, T, H, V] in the dtype of `v`; computed in float32, or in float64 if any argument
    is.

    Raises ValueError for a wrong shape, a dtype that is not floating point, a chunk size below 1, or a
    backend that is unknown or cannot serve the call.
    """
    check_rank("q", q, "[B, T, H, K]")
    check_rank("v", v, "[B, T, H, V]")
    B, T, H, K = q.shape
    check_tensor("k", k, (B, T, H, K), "[B, T, H, K]")
    check_tensor("v", v, (B, T, H, v.shape[-1]), "[B, T, H, V]")
    per_channel = log_decay is not None and log_decay.dim() == 4
    if log_decay is not None and per_channel:
        check_tensor("log_decay", log_decay, (B, T, H, K), "[B, T, H, K]")
    elif log_decay is not None:
        check_tensor("log_decay", log_decay, (B, T, H), "[B, T, H] or [B, T, H, K]")
    if chunk_size is None:
        chunk_size = 8 if per_channel else 32
    check_chunk_size(chunk_size)

    chosen = choose_backend("decay_attention", backend, q, {"fla": _fla_limit(q, k, v, log_decay)})
    if chosen == "fla":
        from kernels.decay_attention.fla import decay_attention_fla

        return decay_attention_fla(q, k, v, log_decay, scale)
    dtype = working_dtype(q, k, v, log_decay)
    decay = None if log_decay is None else log_decay.to(dtype)
    if decay is not None and not per_channel:
        decay = decay[..., None]
    inputs = q.to(dtype), k.to(dtype), v.to(dtype), decay
    if chosen == "naive":
        return decay_attention_naive(*inputs, scale).to(v.dtype)
    return decay_attention_chunk(*inputs, scale, chunk_size).to(v.dtype)


def _fla_limit(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor | None) -> str | None:
    """Why flash-linear-attention cannot serve a call, or None."""
    if not q.dtype == k.dtype == v.dtype or q.dtype not in (torch.bfloat16, torch.float16):
        return "it serves q, k and v of one dtype, bfloat16 or float16"
    if log_decay is not None and log_decay.dtype == torch.float64:
        return "it does not serve float64"
    if min(q.shape[-1], v.shape[-1]) < 16:
        return "it serves head sizes of at least 16"
    return None
