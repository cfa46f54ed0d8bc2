"""RMS norm of a mixer's output, gated."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.arguments import check_rank, check_tensor, own_precision, working_dtype
from kernels.backends import Backend, choose_backend
from kernels.gated_norm.chunk import gated_norm_chunk
from kernels.gated_norm.naive import gated_norm_naive

__all__ = ["gated_norm"]


@own_precision
def gated_norm(x: Tensor, gate: Tensor, weight: Tensor, *, eps: float = 1e-5, backend: Backend = "auto") -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight * silu(gate), the mean over the last axis.

    The output norm of RetNet (arXiv 2307.08621), GLA (arXiv 2312.06635) and Gated DeltaNet (arXiv
    2412.06464).

    Args:
        x, gate: features and gate logits [..., D].
        weight: gains [D].
        eps: added to the mean square.
        backend: "naive", "chunk", "fla" or "auto" (`kernels.backends`).

    Returns [..., D] in the dtype of `x`; computed in float32, or in float64 if any argument is.

    Raises ValueError for a wrong shape, a dtype that is not floating point, or a backend that is
    unknown or cannot serve the call.
    """
    check_rank("weight", weight, "[D]")
    check_tensor("x", x, (*x.shape[:-1], weight.shape[0]), "[..., D]")
    check_tensor("gate", gate, tuple(x.shape), "[..., D], the same as x,")
    dtype = working_dtype(x, gate, weight)
    chosen = choose_backend("gated_norm", backend, x, {"fla": _fla_limit(dtype, weight.shape[0])})
    if chosen == "fla":
        from kernels.gated_norm.fla import gated_norm_fla

        return gated_norm_fla(x, gate, weight, eps)
    form = gated_norm_naive if chosen == "naive" else gated_norm_chunk
    return form(x.to(dtype), gate.to(dtype), weight.to(dtype), eps).to(x.dtype)


def _fla_limit(dtype: torch.dtype, features: int) -> str | None:
    """Why flash-linear-attention cannot serve a call, or None."""
    if dtype == torch.float64:
        return "it does not serve float64"
    if features > 16384:
        return f"it serves at most 16384 features, not {features}"
    return None
