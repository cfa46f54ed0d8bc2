"""Branch statistics and mixing as Triton kernels: all branches in one launch, each read once where it lies.

A program holds some rows (a token and head each) of all D channels, and takes the branches in turn. Nothing is
stacked, copied or added up between programs. Statistics are recomputed in the backward pass from the one load of
the branch that it needs anyway.

Shapes: B batch, T time, H heads, N branches, D head size, M = B T H rows, R rows of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from kernels.arguments import working_dtype
from kernels.sm90 import Compilation


@triton.jit
def _rows(M, T, H, R: tl.constexpr):
    """The rows of a program with their places in the batch, the sequence and the heads, and which of them exist."""
    row_R = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    return row_R, row_R // H // T, row_R // H % T, row_R % H, row_R < M


@triton.jit
def _load(x, stride_b, stride_t, stride_h, b_R, t_R, h_R, channel_D, mask_RD, DTYPE: tl.constexpr):
    start_R = b_R * stride_b + t_R * stride_t + h_R * stride_h
    return tl.load(x + start_R[:, None] + channel_D[None, :], mask=mask_RD, other=0.0).to(DTYPE)


@triton.jit
def _moments_kernel(
    branches,
    strides_b,
    strides_t,
    strides_h,
    out,
    M,
    T,
    H,
    N: tl.constexpr,
    D: tl.constexpr,
    R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    DTYPE: tl.constexpr,
):
    row_R, b_R, t_R, h_R, exists_R = _rows(M, T, H, R)
    channel_D = tl.arange(0, BLOCK_D)
    inside_RD = (channel_D < D)[None, :]
    mask_RD = exists_R[:, None] & inside_RD
    for n in tl.static_range(N):
        x_RD = _load(branches[n], strides_b[n], strides_t[n], strides_h[n], b_R, t_R, h_R, channel_D, mask_RD, DTYPE)
        mean_R = tl.sum(x_RD, 1) / D
        centred_RD = tl.where(inside_RD, x_RD - mean_R[:, None], 0.0)
        abs_R = tl.sum(tl.abs(x_RD), 1)  # NaN if and only if a channel is: then the maximum is NaN too, as in PyTorch
        max_R = tl.max(tl.where(inside_RD, x_RD, -float("inf")), 1)
        target_R = out + (row_R * N + n) * 5
        tl.store(target_R, mean_R, mask=exists_R)
        tl.store(target_R + 1, tl.sum(centred_RD * centred_RD, 1) / D, mask=exists_R)
        tl.store(target_R + 2, abs_R / D, mask=exists_R)
        tl.store(target_R + 3, tl.sqrt(tl.sum(x_RD * x_RD, 1)), mask=exists_R)
        tl.store(target_R + 4, tl.where(abs_R == abs_R, max_R, abs_R), mask=exists_R)


@triton.jit
def _moments_gradient_kernel(
    branches,
    strides_b,
    strides_t,
    strides_h,
    grad,
    dbranches,
    M,
    T,
    H,
    N: tl.constexpr,
    D: tl.constexpr,
    R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    DTYPE: tl.constexpr,
):
    row_R, b_R, t_R, h_R, exists_R = _rows(M, T, H, R)
    channel_D = tl.arange(0, BLOCK_D)
    inside_RD = (channel_D < D)[None, :]
    mask_RD = exists_R[:, None] & inside_RD
    for n in tl.static_range(N):
        x_RD = _load(branches[n], strides_b[n], strides_t[n], strides_h[n], b_R, t_R, h_R, channel_D, mask_RD, DTYPE)
        source_R = grad + (row_R * N + n) * 5
        dmean_R = tl.load(source_R, mask=exists_R, other=0.0).to(DTYPE) / D
        dvariance_R = tl.load(source_R + 1, mask=exists_R, other=0.0).to(DTYPE) * 2 / D
        dabs_R = tl.load(source_R + 2, mask=exists_R, other=0.0).to(DTYPE) / D
        dnorm_R = tl.load(source_R + 3, mask=exists_R, other=0.0).to(DTYPE)
        dmax_R = tl.load(source_R + 4, mask=exists_R, other=0.0).to(DTYPE)
        mean_R = tl.sum(x_RD, 1) / D
        norm_R = tl.sqrt(tl.sum(x_RD * x_RD, 1))
        slope_R = tl.where(norm_R > 0, dnorm_R / tl.where(norm_R > 0, norm_R, 1.0), 0.0)
        first_R = tl.argmax(tl.where(inside_RD, x_RD, -float("inf")), 1, tie_break_left=True)
        dx_RD = dmean_R[:, None] + dvariance_R[:, None] * (x_RD - mean_R[:, None]) + slope_R[:, None] * x_RD
        dx_RD += tl.where(x_RD > 0, dabs_R[:, None], tl.where(x_RD < 0, -dabs_R[:, None], 0.0))
        dx_RD += tl.where(channel_D[None, :] == first_R[:, None], dmax_R[:, None], 0.0)
        target = dbranches[n] + row_R[:, None] * D + channel_D[None, :]
        tl.store(target, dx_RD.to(dbranches[n].dtype.element_ty), mask=mask_RD)


@triton.jit
def _mix_kernel(
    branches,
    strides_b,
    strides_t,
    strides_h,
    weights,
    out,
    M,
    T,
    H,
    N: tl.constexpr,
    D: tl.constexpr,
    R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    DTYPE: tl.constexpr,
):
    row_R, b_R, t_R, h_R, exists_R = _rows(M, T, H, R)
    channel_D = tl.arange(0, BLOCK_D)
    mask_RD = exists_R[:, None] & (channel_D < D)[None, :]
    mixed_RD = tl.zeros([R, BLOCK_D], DTYPE)
    for n in tl.static_range(N):
        x_RD = _load(branches[n], strides_b[n], strides_t[n], strides_h[n], b_R, t_R, h_R, channel_D, mask_RD, DTYPE)
        weight_R = tl.load(weights + row_R * N + n, mask=exists_R, other=0.0).to(DTYPE)
        mixed_RD += weight_R[:, None] * x_RD
    tl.store(out + row_R[:, None] * D + channel_D[None, :], mixed_RD.to(out.dtype.element_ty), mask=mask_RD)


@triton.jit
def _mix_gradient_kernel(
    branches,
    strides_b,
    strides_t,
    strides_h,
    weights,
    grad,
    dbranches,
    dweights,
    M,
    T,
    H,
    N: tl.constexpr,
    D: tl.constexpr,
    R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    DTYPE: tl.constexpr,
):
    row_R, b_R, t_R, h_R, exists_R = _rows(M, T, H, R)
    channel_D = tl.arange(0, BLOCK_D)
    mask_RD = exists_R[:, None] & (channel_D < D)[None, :]
    place_RD = row_R[:, None] * D + channel_D[None, :]
    grad_RD = tl.load(grad + place_RD, mask=mask_RD, other=0.0).to(DTYPE)
    for n in tl.static_range(N):
        x_RD = _load(branches[n], strides_b[n], strides_t[n], strides_h[n], b_R, t_R, h_R, channel_D, mask_RD, DTYPE)
        weight_R = tl.load(weights + row_R * N + n, mask=exists_R, other=0.0).to(DTYPE)
        dx_RD = weight_R[:, None] * grad_RD
        tl.store(dbranches[n] + place_RD, dx_RD.to(dbranches[n].dtype.element_ty), mask=mask_RD)
        dweight_R = tl.sum(x_RD * grad_RD, 1)
        tl.store(dweights + row_R * N + n, dweight_R.to(dweights.dtype.element_ty), mask=exists_R)


def _block(D: int, N: int) -> dict[str, Any]:
    """The tile of a head size: 16 channels a thread, or whole heads where they are larger."""
    wide = triton.next_power_of_2(D)
    rows = max(1, 2048 // wide)
    return {"N": N, "D": D, "R": rows, "BLOCK_D": wide, "num_warps": 4 if wide <= 2048 else 8, "num_stages": 1}


def _launch(kernel: Any, branches: Sequence[Tensor], *others: object, dtype: torch.dtype) -> None:
    """Run a kernel over the rows of `branches`; `others` are its arguments after their strides."""
    views = tuple(each if each.stride(3) == 1 else each.contiguous() for each in branches)
    strides = (tuple(each.stride(axis) for each in views) for axis in range(3))
    B, T, H, D = views[0].shape
    block = _block(D, len(views))
    constants = {**block, "DTYPE": tl.float64 if dtype == torch.float64 else tl.float32}
    with torch.cuda.device_of(views[0]):
        kernel[(triton.cdiv(B * T * H, block["R"]),)](views, *strides, *others, B * T * H, T, H, **constants)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)


@torch.library.custom_op("archaudit::branch_moments", mutates_args=())
def _moments(branches: Sequence[Tensor]) -> Tensor:
    first = branches[0]
    out = torch.empty((*first.shape[:3], len(branches), 5), dtype=first.dtype, device=first.device)
    _launch(_moments_kernel, branches, out, dtype=working_dtype(*branches))
    return out


@_moments.register_fake
def _(branches: Sequence[Tensor]) -> Tensor:
    return branches[0].new_empty((*branches[0].shape[:3], len(branches), 5))


@torch.library.custom_op("archaudit::branch_moments_gradient", mutates_args=())
def _moments_gradient(branches: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    dbranches = [_like(each) for each in branches]
    _launch(
        _moments_gradient_kernel, branches, grad.contiguous(), tuple(dbranches), dtype=working_dtype(grad, *branches)
    )
    return dbranches


@_moments_gradient.register_fake
def _(branches: Sequence[Tensor], grad: Tensor) -> list[Tensor]:
    return [each.new_empty(each.shape) for each in branches]


@torch.library.custom_op("archaudit::branch_mix", mutates_args=())
def _mix(branches: Sequence[Tensor], weights: Tensor) -> Tensor:
    out = _like(branches[0])
    _launch(_mix_kernel, branches, weights.contiguous(), out, dtype=working_dtype(weights, *branches))
    return out


@_mix.register_fake
def _(branches: Sequence[Tensor], weights: Tensor) -> Tensor:
    return branches[0].new_empty(branches[0].shape)


@torch.library.custom_op("archaudit::branch_mix_gradient", mutates_args=())
def _mix_gradient(branches: Sequence[Tensor], weights: Tensor, grad: Tensor) -> list[Tensor]:
    """Gradients of the branches, then that of the weights."""
    dbranches, dweights = [_like(each) for each in branches], _like(weights)
    others = weights.contiguous(), grad.contiguous(), tuple(dbranches), dweights
    _launch(_mix_gradient_kernel, branches, *others, dtype=working_dtype(weights, *branches))
    return [*dbranches, dweights]


@_mix_gradient.register_fake
def _(branches: Sequence[Tensor], weights: Tensor, grad: Tensor) -> list[Tensor]:
    return [each.new_empty(each.shape) for each in (*branches, weights)]


def _keep_moments(ctx: Any, inputs: tuple[list[Tensor]], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[0])


def _moments_gradients(ctx: Any, grad: Tensor) -> list[Tensor]:
    dbranches: list[Tensor] = _moments_gradient(list(ctx.saved_tensors), grad)
    return dbranches


def _keep_mix(ctx: Any, inputs: tuple[list[Tensor], Tensor], output: Tensor) -> None:
    branches, weights = inputs
    ctx.save_for_backward(*branches, weights)


def _mix_gradients(ctx: Any, grad: Tensor) -> tuple[list[Tensor], Tensor]:
    *branches, weights = ctx.saved_tensors
    *dbranches, dweights = _mix_gradient(branches, weights, grad)
    return dbranches, dweights


_moments.register_autograd(_moments_gradients, setup_context=_keep_moments)
_mix.register_autograd(_mix_gradients, setup_context=_keep_mix)


def branch_moments_triton(branches: Sequence[Tensor]) -> Tensor:
    """`kernels.branch_moments` on a GPU; arguments already checked."""
    moments_BTHNS: Tensor = _moments(list(branches))
    return moments_BTHNS


def branch_mix_triton(branches: Sequence[Tensor], weights_BTHN: Tensor) -> Tensor:
    """`kernels.branch_mix` on a GPU; arguments already checked."""
    mixed_BTHD: Tensor = _mix(list(branches), weights_BTHN)
    return mixed_BTHD


def _compilations() -> Iterator[Compilation]:
    for x, N, D in (("*bf16", 4, 128), ("*bf16", 5, 64), ("*fp32", 4, 32)):
        block = _block(D, N)
        launch = {name: block.pop(name) for name in ("num_warps", "num_stages")}
        types: dict[str, Any] = dict.fromkeys(("branches", "dbranches"), (x,) * N)
        types |= dict.fromkeys(("strides_b", "strides_t", "strides_h"), ("i32:16",) * N)
        types |= dict.fromkeys(("out", "grad", "weights", "dweights"), x) | {"M": "i32:16", "T": "i32:16", "H": "i32"}
        kernels = {
            "moments": _moments_kernel,
            "moments gradient": _moments_gradient_kernel,
            "mix": _mix_kernel,
            "mix gradient": _mix_gradient_kernel,
        }
        for name, kernel in kernels.items():
            yield Compilation(
                name=f"branch_mix {name} {x[1:]} N{N} D{D}",
                kernel=kernel,
                signature={each: types[each] for each in kernel.arg_names if each in types},
                constants={**block, "DTYPE": tl.float32},
                tensor_cores=False,
                **launch,
            )


COMPILATIONS = tuple(_compilations())
