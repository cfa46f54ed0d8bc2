"""Causal depthwise filters: the short convolution of linear-attention mixers, and banks of longer ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.arguments import check_rank, check_tensor, own_precision, working_dtype
from kernels.backends import Backend, choose_backend
from kernels.fir.chunk import fir_chunk
from kernels.fir.naive import fir_naive

__all__ = ["fir"]


@own_precision
def fir(x: Tensor, filters: Sequence[Tensor], *, backend: Backend = "auto") -> tuple[Tensor, ...]:
    """Each channel filtered with its own finite impulse response, for every filter of a bank.

        y_t = sum_{w=0}^{W-1} filter_w x_{t-(W-1)+w},   x before the start is zero

    This is the convention of `torch.nn.functional.conv1d` after W - 1 zeros on the left: the last tap
    multiplies the current input. The short convolution before the state update of Mamba-2 (arXiv 2405.21060)
    and DeltaNet (arXiv 2406.06484) is one such filter of 4 taps.

    Args:
        x: inputs [B, T, C].
        filters: one or more filters [C, W], each of its own length W.
        backend: "auto", "naive", "chunk", "triton" or "fla" (`kernels.backends`).

    Returns one output [B, T, C] for each filter, in the dtype of `x`; summed in float32, or in float64 if any
    argument is.

    Raises ValueError for a wrong shape, a dtype that is not floating point, no filter, an unknown backend or one
    that cannot serve the call.
    """
    check_rank("x", x, "[B, T, C]")
    if isinstance(filters, Tensor) or len(filters) == 0:
        raise ValueError("filters must be a sequence of at least one tensor [C, W]; put a single filter in a list")
    for index, each in enumerate(filters):
        check_rank(f"filters[{index}]", each, "[C, W]")
        check_tensor(f"filters[{index}]", each, (x.shape[-1], each.shape[-1]), "[C, W]")

    dtype = working_dtype(x, *filters)
    limits = {"triton": None, "fla": "it sums in float32 only" if dtype == torch.float64 else None}
    chosen = choose_backend("fir", backend, x, limits)
    if chosen == "triton":
        from kernels.fir.triton import fir_triton

        return fir_triton(x, filters)
    if chosen == "fla":
        from kernels.fir.fla import fir_fla

        return fir_fla(x, filters)
    form = fir_naive if chosen == "naive" else fir_chunk
    outputs = form(x.to(dtype), [each.to(dtype) for each in filters])
    return tuple(output.to(x.dtype) for output in outputs)
