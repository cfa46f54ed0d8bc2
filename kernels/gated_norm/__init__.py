"""RMS norm of a mixer's output, gated."""

from __future__ import annotations

from torch import Tensor

from kernels.arguments import Backend, check_rank, check_tensor, choose_backend, working_dtype
from kernels.gated_norm.chunk import gated_norm_chunk
from kernels.gated_norm.naive import gated_norm_naive

__all__ = ["gated_norm"]


def gated_norm(x: Tensor, gate: Tensor, weight: Tensor, *, eps: float = 1e-5, backend: Backend = "auto") -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight * silu(gate), the mean over the last axis.

    The output norm of RetNet (arXiv 2307.08621), GLA (arXiv 2312.06635) and Gated DeltaNet (arXiv
    2412.06464).

    Args:
        x, gate: features and gate logits [..., D].
        weight: gains [D].
        eps: added to the mean square.
        backend: "naive", "chunk" or "auto" (chunk).

    Returns [..., D] in the dtype of `x`; computed in float32, or in float64 if any argument is.

    Raises ValueError for a wrong shape, a dtype that is not floating point, or an unknown backend.
    """
    check_rank("weight", weight, "[D]")
    check_tensor("x", x, (*x.shape[:-1], weight.shape[0]), "[..., D]")
    check_tensor("gate", gate, tuple(x.shape), "[..., D], the same as x,")
    dtype = working_dtype(x, gate, weight)
    form = gated_norm_naive if choose_backend(backend) == "naive" else gated_norm_chunk
    return form(x.to(dtype), gate.to(dtype), weight.to(dtype), eps).to(x.dtype)
