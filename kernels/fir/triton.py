"""Causal depthwise filters as Triton kernels: a whole bank in one pass over its input.

A program holds a tile of times and channels. Its times are taken in four phases, t = 4r + p: a row loaded once
then serves the four delays d + p, which is a quarter of the loads and conversions of one load a tap. The loop over
delays runs in the kernel; only the few delays at the ends of a filter, which not all phases share, are unrolled.
The halo of a tile comes from the first-level cache.

The gradient of a filter is summed in segments of time, each into a place of its own, and these are added in a fixed
order.

Shapes: B batch, T time, C channels, W taps, R rows of a tile (every fourth time), P segments.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from kernels.arguments import working_dtype
from kernels.sm90 import Compilation

PHASES = 4
SEGMENT = 256  # times to a partial sum of a filter's gradient: both its inputs stay in the first-level cache


@triton.jit
def _load(source, offsets_RC, time_R, channels_C, T, C):
    inside_R = time_R.to(tl.uint32, bitcast=True) < T  # 0 <= time < T in one comparison
    return tl.load(source + offsets_RC, mask=inside_R[:, None] & (channels_C < C)[None, :], other=0.0)


@triton.jit
def _store(target, offsets_RC, time_R, channels_C, T, C, value_RC):
    mask_RC = (time_R < T)[:, None] & (channels_C < C)[None, :]
    tl.store(target + offsets_RC, value_RC.to(target.dtype.element_ty), mask=mask_RC)


@triton.jit
def _edge(a0, a1, a2, a3, x_RC, taps_C, stride_w, D: tl.constexpr, W: tl.constexpr):
    """Add one row to the phases whose delay D + p lies in the filter."""
    last = taps_C + (W - 1 - D) * stride_w  # tap W - 1 - j has the delay j
    if D >= 0:
        a0 += x_RC * tl.load(last)[None, :]
    if (D >= -1) and (D + 1 < W):
        a1 += x_RC * tl.load(last - stride_w)[None, :]
    if (D >= -2) and (D + 2 < W):
        a2 += x_RC * tl.load(last - 2 * stride_w)[None, :]
    if D + 3 < W:
        a3 += x_RC * tl.load(last - 3 * stride_w)[None, :]
    return a0, a1, a2, a3


@triton.jit
def _filtered(
    a0,
    a1,
    a2,
    a3,
    source,
    stride,
    taps_C,
    stride_w,
    time_R,
    offsets_RC,
    channels_C,
    T,
    C,
    SIGN: tl.constexpr,
    W: tl.constexpr,
):
    """Add to phase p, at the times time_R + SIGN p, sum_j taps[W - 1 - j] source[time - SIGN j]."""
    for D in tl.static_range(1 - 4, 0):
        x_RC = _load(source - SIGN * D * stride, offsets_RC, time_R - SIGN * D, channels_C, T, C).to(a0.dtype)
        a0, a1, a2, a3 = _edge(a0, a1, a2, a3, x_RC, taps_C, stride_w, D, W)
    for d in range(W - 3):
        x_RC = _load(source - SIGN * d * stride, offsets_RC, time_R - SIGN * d, channels_C, T, C).to(a0.dtype)
        last = taps_C + (W - 1 - d) * stride_w
        a0 += x_RC * tl.load(last)[None, :]
        a1 += x_RC * tl.load(last - stride_w)[None, :]
        a2 += x_RC * tl.load(last - 2 * stride_w)[None, :]
        a3 += x_RC * tl.load(last - 3 * stride_w)[None, :]
    for D in tl.static_range(W - 3 if W > 3 else 0, W):
        x_RC = _load(source - SIGN * D * stride, offsets_RC, time_R - SIGN * D, channels_C, T, C).to(a0.dtype)
        a0, a1, a2, a3 = _edge(a0, a1, a2, a3, x_RC, taps_C, stride_w, D, W)
    return a0, a1, a2, a3


@triton.jit
def _tile(T, C, R: tl.constexpr, BLOCK_C: tl.constexpr):
    """The tile of a program: its sequence, first time and channels."""
    blocks = tl.cdiv(C, BLOCK_C)
    tiles = tl.cdiv(T, 4 * R)
    program = tl.program_id(0)
    channels_C = (program % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    return (program // blocks // tiles).to(tl.int64), (program // blocks % tiles) * 4 * R, channels_C


@triton.jit
def _forward_kernel(
    x, taps, outs, T, C, stride_b, stride_t, stride_w, WIDTHS: tl.constexpr, R: tl.constexpr, BLOCK_C: tl.constexpr
):
    b, start, channels_C = _tile(T, C, R, BLOCK_C)
    row_R = 4 * tl.arange(0, R)
    x_offsets_RC = row_R[:, None] * stride_t + channels_C[None, :]
    out_offsets_RC = row_R[:, None] * C + channels_C[None, :]
    time_R = start + row_R
    source = x + b * stride_b + start.to(tl.int64) * stride_t
    for n in tl.static_range(len(WIDTHS)):
        zero = tl.zeros([R, BLOCK_C], taps[n].dtype.element_ty)
        a0, a1, a2, a3 = _filtered(
            zero,
            zero,
            zero,
            zero,
            source,
            stride_t,
            taps[n] + channels_C,
            stride_w,
            time_R,
            x_offsets_RC,
            channels_C,
            T,
            C,
            1,
            WIDTHS[n],
        )
        out = outs[n] + (b * T + start) * C
        _store(out, out_offsets_RC, time_R, channels_C, T, C, a0)
        _store(out + C, out_offsets_RC, time_R + 1, channels_C, T, C, a1)
        _store(out + 2 * C, out_offsets_RC, time_R + 2, channels_C, T, C, a2)
        _store(out + 3 * C, out_offsets_RC, time_R + 3, channels_C, T, C, a3)


@triton.jit
def _input_gradient_kernel(
    grads, taps, dx, T, C, stride_w, WIDTHS: tl.constexpr, R: tl.constexpr, BLOCK_C: tl.constexpr
):
    b, start, channels_C = _tile(T, C, R, BLOCK_C)
    row_R = 4 * tl.arange(0, R)
    offsets_RC = row_R[:, None] * C + channels_C[None, :]
    time_R = start + 3 + row_R  # the last of four times is phase 0: delays run into the future here
    first = (b * T + start + 3) * C
    a0 = tl.zeros([R, BLOCK_C], taps[0].dtype.element_ty)
    a1, a2, a3 = a0, a0, a0
    for n in tl.static_range(len(WIDTHS)):
        a0, a1, a2, a3 = _filtered(
            a0,
            a1,
            a2,
            a3,
            grads[n] + first,
            C,
            taps[n] + channels_C,
            stride_w,
            time_R,
            offsets_RC,
            channels_C,
            T,
            C,
            -1,
            WIDTHS[n],
        )
    target = dx + first
    _store(target, offsets_RC, time_R, channels_C, T, C, a0)
    _store(target - C, offsets_RC, time_R - 1, channels_C, T, C, a1)
    _store(target - 2 * C, offsets_RC, time_R - 2, channels_C, T, C, a2)
    _store(target - 3 * C, offsets_RC, time_R - 3, channels_C, T, C, a3)


@triton.jit
def _filter_gradient_kernel(
    x,
    grads,
    partials,
    T,
    C,
    stride_b,
    stride_t,
    stride_p,
    WIDTHS: tl.constexpr,
    SEGMENT: tl.constexpr,
    R: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    blocks = tl.cdiv(C, BLOCK_C)
    segments = tl.cdiv(T, SEGMENT)
    program = tl.program_id(0)
    place = (program // blocks).to(tl.int64)
    b = place // segments
    begin = ((place % segments) * SEGMENT).to(tl.int32)
    channels_C = (program % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask_C = channels_C < C
    row_R = 4 * tl.arange(0, R)
    x_offsets_RC = row_R[:, None] * stride_t + channels_C[None, :]
    dy_offsets_RC = row_R[:, None] * C + channels_C[None, :]
    dtype: tl.constexpr = partials[0].dtype.element_ty
    for n in tl.static_range(len(WIDTHS)):
        for d in range(0, WIDTHS[n], 4):  # the delays d to d + 3 together
            a0 = tl.zeros([R, BLOCK_C], dtype)
            a1, a2, a3 = a0, a0, a0
            for step in range(0, tl.minimum(SEGMENT, T - begin), 4 * R):
                start = begin + step
                time_R = start + row_R
                dy = grads[n] + (b * T + start) * C
                dy0 = _load(dy, dy_offsets_RC, time_R, channels_C, T, C).to(dtype)
                dy1 = _load(dy + C, dy_offsets_RC, time_R + 1, channels_C, T, C).to(dtype)
                dy2 = _load(dy + 2 * C, dy_offsets_RC, time_R + 2, channels_C, T, C).to(dtype)
                dy3 = _load(dy + 3 * C, dy_offsets_RC, time_R + 3, channels_C, T, C).to(dtype)
                dys = (dy0, dy1, dy2, dy3)
                source = x + b * stride_b + (start - d).to(tl.int64) * stride_t
                for e in tl.static_range(1 - 4, 4):  # x at 4r + e - d meets phase e + p at the delay d + p
                    x_RC = _load(source + e * stride_t, x_offsets_RC, time_R + e - d, channels_C, T, C).to(dtype)
                    if e >= 0:
                        a0 += dys[e] * x_RC
                    if (e >= -1) and (e < 3):
                        a1 += dys[e + 1] * x_RC
                    if (e >= -2) and (e < 2):
                        a2 += dys[e + 2] * x_RC
                    if e < 1:
                        a3 += dys[e + 3] * x_RC
            target = partials[n] + place * stride_p + (WIDTHS[n] - 1 - d) * C + channels_C
            tl.store(target, tl.sum(a0, 0), mask=mask_C)
            tl.store(target - C, tl.sum(a1, 0), mask=mask_C & (d + 1 < WIDTHS[n]))
            tl.store(target - 2 * C, tl.sum(a2, 0), mask=mask_C & (d + 2 < WIDTHS[n]))
            tl.store(target - 3 * C, tl.sum(a3, 0), mask=mask_C & (d + 3 < WIDTHS[n]))


def _block(T: int) -> dict[str, Any]:
    """The tile for a length. With four warps to 64 channels, sources and taps lie alike in registers, without moves."""
    return {"R": 32 if T >= 512 else 16, "BLOCK_C": 64, "num_warps": 4, "num_stages": 2}


def _programs(shape: torch.Size, block: dict[str, Any]) -> tuple[int]:
    B, T, C = shape
    return (B * triton.cdiv(T, PHASES * block["R"]) * triton.cdiv(C, block["BLOCK_C"]),)


def _taps(filters: Sequence[Tensor], dtype: torch.dtype, block_C: int) -> tuple[tuple[Tensor, ...], int]:
    """The filters as [W, C] of `dtype`, to read channels side by side, and the length of such a row.

    Rows are filled up to whole tiles with whatever is there, and so are read without a mask: what comes of it is
    masked where it is stored.
    """
    C = filters[0].shape[0]
    stride = triton.cdiv(C, block_C) * block_C
    taps = []
    for filter_CW in filters:
        padded_WS = torch.empty((filter_CW.shape[1], stride), dtype=dtype, device=filter_CW.device)
        padded_WS[:, :C].copy_(filter_CW.t())
        taps.append(padded_WS)
    return tuple(taps), stride


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)


def _channels_last(x_BTC: Tensor) -> Tensor:
    return x_BTC if x_BTC.stride(2) == 1 else x_BTC.contiguous()


@torch.library.custom_op("archaudit::fir", mutates_args=())
def _fir(x: Tensor, filters: Sequence[Tensor]) -> list[Tensor]:
    B, T, C = x.shape
    x = _channels_last(x)
    outs = [torch.empty((B, T, C), dtype=x.dtype, device=x.device) for _ in filters]
    block = _block(T)
    taps, stride_w = _taps(filters, working_dtype(x, *filters), block["BLOCK_C"])
    widths = tuple(filter_CW.shape[1] for filter_CW in filters)
    with torch.cuda.device_of(x):
        _forward_kernel[_programs(x.shape, block)](
            x, taps, tuple(outs), T, C, x.stride(0), x.stride(1), stride_w, WIDTHS=widths, **block
        )
    return outs


@_fir.register_fake
def _(x: Tensor, filters: Sequence[Tensor]) -> list[Tensor]:
    return [x.new_empty(x.shape) for _ in filters]


@torch.library.custom_op("archaudit::fir_input_gradient", mutates_args=())
def _fir_input_gradient(filters: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
    B, T, C = grads[0].shape
    dx = torch.empty((B, T, C), dtype=grads[0].dtype, device=grads[0].device)
    block = _block(T)
    taps, stride_w = _taps(filters, working_dtype(dx, *filters), block["BLOCK_C"])
    widths = tuple(filter_CW.shape[1] for filter_CW in filters)
    whole = tuple(grad.contiguous() for grad in grads)
    with torch.cuda.device_of(dx):
        _input_gradient_kernel[_programs(dx.shape, block)](whole, taps, dx, T, C, stride_w, WIDTHS=widths, **block)
    return dx


@_fir_input_gradient.register_fake
def _(filters: Sequence[Tensor], grads: Sequence[Tensor]) -> Tensor:
    return grads[0].new_empty(grads[0].shape)


@torch.library.custom_op("archaudit::fir_filter_gradient", mutates_args=())
def _fir_filter_gradient(x: Tensor, filters: Sequence[Tensor], grads: Sequence[Tensor]) -> list[Tensor]:
    B, T, C = x.shape
    x = _channels_last(x)
    widths = tuple(filter_CW.shape[1] for filter_CW in filters)
    places = B * triton.cdiv(T, SEGMENT)
    partial_PWC = torch.empty((places, sum(widths), C), dtype=working_dtype(x, *filters), device=x.device)
    partials = partial_PWC.split(widths, dim=1)
    whole = tuple(grad.contiguous() for grad in grads)
    block = _block(T)
    block["R"] //= 2  # four tiles of gradients besides the four of sums
    strides = x.stride(0), x.stride(1), partial_PWC.stride(0)
    with torch.cuda.device_of(x):
        grid = (places * triton.cdiv(C, block["BLOCK_C"]),)
        _filter_gradient_kernel[grid](x, whole, partials, T, C, *strides, WIDTHS=widths, SEGMENT=SEGMENT, **block)
    sums = partial_PWC.sum(0).split(widths)
    # Copied into memory of their own: outputs of an operator must not be views of one another.
    return [_empty_like(each).copy_(sum_WC.t()) for sum_WC, each in zip(sums, filters, strict=True)]


@_fir_filter_gradient.register_fake
def _(x: Tensor, filters: Sequence[Tensor], grads: Sequence[Tensor]) -> list[Tensor]:
    return [each.new_empty(each.shape) for each in filters]


def _keep(ctx: Any, inputs: tuple[Tensor, list[Tensor]], output: list[Tensor]) -> None:
    x, filters = inputs
    ctx.save_for_backward(x, *filters)


def _gradients(ctx: Any, grads: list[Tensor | None]) -> tuple[Tensor | None, list[Tensor | None]]:
    x, *filters = ctx.saved_tensors
    used = [n for n, grad in enumerate(grads) if grad is not None]  # an output that nobody used has none
    dx = None
    dfilters: list[Tensor | None] = [None] * len(filters)
    if used:
        chosen, given = [filters[n] for n in used], [grads[n] for n in used]
        if ctx.needs_input_grad[0]:
            dx = _fir_input_gradient(chosen, given)
        if any(ctx.needs_input_grad[1]):
            for n, dfilter in zip(used, _fir_filter_gradient(x, chosen, given), strict=True):
                dfilters[n] = dfilter
    return dx, dfilters


_fir.register_autograd(_gradients, setup_context=_keep)


def _products(x: Sequence[int], filters: Sequence[Sequence[int]], *others: object, **settings: object) -> int:
    """FLOPs of one pass: a multiplication and an addition for each input and tap."""
    B, T, C = x
    return sum(2 * B * T * C * W for _, W in filters)


def _products_of_grads(filters: Sequence[Sequence[int]], grads: Sequence[Sequence[int]], **settings: object) -> int:
    return _products(grads[0], filters)


register_flop_formula([torch.ops.archaudit.fir, torch.ops.archaudit.fir_filter_gradient])(_products)
register_flop_formula(torch.ops.archaudit.fir_input_gradient)(_products_of_grads)


def fir_triton(x_BTC: Tensor, filters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`kernels.fir` on a GPU, in the dtypes of its arguments; sums are in float32, or float64 if any argument is."""
    return tuple(_fir(x_BTC, list(filters)))


def _compilations() -> Iterator[Compilation]:
    for x, widths, T in (("*bf16", (5, 64), 2048), ("*fp32", (3, 31), 128)):
        block = _block(T)
        launch = {name: block.pop(name) for name in ("num_warps", "num_stages")}
        many, taps = (x,) * len(widths), ("*fp32",) * len(widths)
        sizes = dict.fromkeys(("T", "C", "stride_b", "stride_t", "stride_w", "stride_p"), "i32:16")
        kernels: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
            "forward": (_forward_kernel, {"x": x, "taps": taps, "outs": many}, {}),
            "input gradient": (_input_gradient_kernel, {"grads": many, "taps": taps, "dx": x}, {}),
            "filter gradient": (
                _filter_gradient_kernel,
                {"x": x, "grads": many, "partials": taps},
                {"SEGMENT": SEGMENT, "R": block["R"] // 2},
            ),
        }
        for name, (kernel, pointers, more) in kernels.items():
            yield Compilation(
                name=f"fir {name} {x[1:]} {widths}",
                kernel=kernel,
                signature={each: kind for each, kind in {**pointers, **sizes}.items() if each in kernel.arg_names},
                constants={"WIDTHS": widths, **block, **more},
                tensor_cores=False,
                **launch,
            )


COMPILATIONS = tuple(_compilations())
