"""The delta rule, plain and gated."""

from __future__ import annotations

from torch import Tensor

from kernels.arguments import (
    Backend,
    check_chunk_size,
    check_rank,
    check_tensor,
    choose_backend,
    working_dtype,
)
from kernels.delta_rule.chunk import delta_rule_chunk
from kernels.delta_rule.naive import delta_rule_naive

__all__ = ["delta_rule"]


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    *,
    scale: float = 1.0,
    chunk_size: int = 32,
    backend: Backend = "auto",
) -> Tensor:
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
        scale: factor on the output.
        chunk_size: tokens solved together by the chunk form. 32 is the fastest on a CPU at head
            sizes of 16 to 32.
        backend: "naive", "chunk" or "auto" (chunk).

    Returns the outputs [B, T, H, V] in the dtype of `v`; computed in float32, or in float64 if any argument
    is.

    Raises ValueError for a wrong shape, a dtype that is not floating point, a chunk size below 1 or an
    unknown backend.
    """
    check_rank("q", q, "[B, T, H, K]")
    check_rank("v", v, "[B, T, H, V]")
    B, T, H, _ = q.shape
    check_tensor("k", k, tuple(q.shape), "[B, T, H, K]")
    check_tensor("v", v, (B, T, H, v.shape[-1]), "[B, T, H, V]")
    check_tensor("beta", beta, (B, T, H), "[B, T, H]")
    if log_decay is not None:
        check_tensor("log_decay", log_decay, (B, T, H), "[B, T, H]")
    check_chunk_size(chunk_size)

    dtype = working_dtype(q, k, v, beta, log_decay)
    decay = None if log_decay is None else log_decay.to(dtype)
    inputs = q.to(dtype), k.to(dtype), v.to(dtype), beta.to(dtype), decay
    if choose_backend(backend) == "naive":
        return delta_rule_naive(*inputs, scale).to(v.dtype)
    return delta_rule_chunk(*inputs, scale, chunk_size).to(v.dtype)
