"""The routing of multi-branch token mixers: statistics of each branch for the gate, and the gated sum."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from kernels.arguments import check_rank, check_tensor, own_precision, working_dtype
from kernels.backends import Backend, choose_backend
from kernels.branch_mix.chunk import branch_mix_chunk, branch_moments_chunk
from kernels.branch_mix.naive import branch_mix_naive, branch_moments_naive

__all__ = ["MOMENTS", "branch_mix", "branch_moments"]

MOMENTS = ("mean", "variance", "mean absolute value", "l2 norm", "maximum")


@own_precision
def branch_moments(branches: Sequence[Tensor], *, backend: Backend = "auto") -> Tensor:
    """Five statistics of every branch, over the channels of a head.

    They are the inputs of the gates of the multi-branch DeltaNets of arXiv 2507.18074. In the order of `MOMENTS`:
    mean, variance (divided by D), mean absolute value, root of the sum of squares, and maximum. The gradient of the
    norm is 0 where the norm is, and that of the maximum goes to the first of equal channels.

    Args:
        branches: one or more tensors [B, T, H, D].
        backend: "auto", "naive", "chunk" or "triton" (`kernels.backends`).

    Returns [B, T, H, N, 5] for N branches, in the dtype of the first; computed in float32, or in float64 if any
    argument is.

    Raises ValueError for a wrong shape, a dtype that is not floating point, no branch, an unknown backend or one
    that cannot serve the call.
    """
    _check(branches)
    chosen = choose_backend("branch_moments", backend, branches[0], {"triton": _triton_limit(branches)})
    if chosen == "triton":
        from kernels.branch_mix.triton import branch_moments_triton

        return branch_moments_triton(branches)
    dtype = working_dtype(*branches)
    form = branch_moments_naive if chosen == "naive" else branch_moments_chunk
    return form([each.to(dtype) for each in branches]).to(branches[0].dtype)


@own_precision
def branch_mix(branches: Sequence[Tensor], weights: Tensor, *, backend: Backend = "auto") -> Tensor:
    """The sum of the branches, each times its weight for the token and head.

    Args:
        branches: N tensors [B, T, H, D].
        weights: [B, T, H, N], most often a softmax over N.
        backend: "auto", "naive", "chunk" or "triton" (`kernels.backends`).

    Returns [B, T, H, D] in the dtype of the first branch; computed in float32, or in float64 if any argument is.

    Raises ValueError for a wrong shape, a dtype that is not floating point, no branch, an unknown backend or one
    that cannot serve the call.
    """
    _check(branches)
    check_tensor("weights", weights, (*branches[0].shape[:3], len(branches)), "[B, T, H, N]")
    chosen = choose_backend("branch_mix", backend, branches[0], {"triton": _triton_limit(branches)})
    if chosen == "triton":
        from kernels.branch_mix.triton import branch_mix_triton

        return branch_mix_triton(branches, weights)
    dtype = working_dtype(weights, *branches)
    form = branch_mix_naive if chosen == "naive" else branch_mix_chunk
    return form([each.to(dtype) for each in branches], weights.to(dtype)).to(branches[0].dtype)


def _check(branches: Sequence[Tensor]) -> None:
    if isinstance(branches, Tensor) or len(branches) == 0:
        raise ValueError("branches must be a sequence of at least one tensor [B, T, H, D]; put a single one in a list")
    for index, each in enumerate(branches):
        check_rank(f"branches[{index}]", each, "[B, T, H, D]")
        check_tensor(f"branches[{index}]", each, tuple(branches[0].shape), "[B, T, H, D]")


def _triton_limit(branches: Sequence[Tensor]) -> str | None:
    if len(branches) > 8:
        return f"it takes 8 branches at most, not {len(branches)}"
    if branches[0].shape[-1] > 4096:
        return f"it takes heads of 4096 channels at most, not {branches[0].shape[-1]}"
    return None
