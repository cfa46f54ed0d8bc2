"""The gate as two GPU kernels around matrix products.

The hidden states' part of the first layer, the same for all heads, is a plain matrix product before the kernel. The
kernel adds each head's own part, and takes the activation and the second layer block by block of F, so that nothing
of size H times F reaches memory. The backward kernel computes those blocks again. One program of it holds all heads
of its tokens and sums over them itself. The gradients of weights are summed over programs by PyTorch, in fixed order.

Shapes: M = B*T tokens, H heads, D hidden, S statistics, F features, G outputs, E = D + S; a tile has R rows, one for
each of its TOKENS and of P heads, where P is H rounded up to a power of two; SP and GP are S and G rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from kernels.arguments import working_dtype
from kernels.sm90 import Compilation


class _Tiling(NamedTuple):
    """Rows of a tile, features taken at a time, and the launch."""

    rows: int
    features: int
    num_warps: int
    num_stages: int


# Exact float32 products use no tensor cores and more registers: smaller tiles.
_FORWARD = {"fast": _Tiling(128, 64, 8, 3), "exact": _Tiling(64, 32, 4, 2)}
_BACKWARD = {"fast": _Tiling(128, 32, 8, 2), "exact": _Tiling(64, 16, 8, 1)}


@triton.jit
def _activate(z, ACTIVATION: tl.constexpr):
    """act(z) and its derivative."""
    if ACTIVATION == "gelu":
        below = 0.5 * (1 + tl.erf(z * 0.7071067811865476))
        return z * below, below + z * tl.exp(-0.5 * z * z) * 0.3989422804014327
    if ACTIVATION == "gelu_tanh":
        slope = 1.5957691216057308 * (1 + 0.134145 * z * z)
        below = tl.sigmoid(1.5957691216057308 * z * (1 + 0.044715 * z * z))
        return z * below, below + z * below * (1 - below) * slope
    if ACTIVATION == "silu":
        below = tl.sigmoid(z)
        return z * below, below + z * below * (1 - below)
    if ACTIVATION == "relu":
        return tl.where(z > 0, z, 0.0), (z > 0).to(z.dtype)
    value = 2 * tl.sigmoid(2 * z) - 1
    return value, 1 - value * value


@triton.jit
def _rows(M, H, TOKENS: tl.constexpr, P: tl.constexpr):
    """Token and (token, head) number of each row of this program's tile, and which rows exist."""
    row_R = tl.arange(0, TOKENS * P)
    token_R = tl.program_id(0).to(tl.int64) * TOKENS + row_R // P
    head_R = row_R % P
    return token_R, token_R * H + head_R, (token_R < M) & (head_R < H)


@triton.jit
def _forward_kernel(
    shared_MF, s_NS, w1_FE, b1_F, w2_GF, out_NG, M, H, D, S, F, G,
    ACTIVATION: tl.constexpr, HAS_BIAS: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr,
    TOKENS: tl.constexpr, P: tl.constexpr, BF: tl.constexpr, SP: tl.constexpr, GP: tl.constexpr,
):  # fmt: skip
    token_R, index_R, real_R = _rows(M, H, TOKENS, P)
    i_S, i_G = tl.arange(0, SP), tl.arange(0, GP)
    s_RS = tl.load(s_NS + index_R[:, None] * S + i_S, mask=real_R[:, None] & (i_S < S), other=0.0)
    out_RG = tl.zeros([TOKENS * P, GP], dtype=SUM)
    for start in range(0, F, BF):
        i_F = start + tl.arange(0, BF)
        inside_F = i_F < F
        z_RF = tl.load(shared_MF + token_R[:, None] * F + i_F, mask=real_R[:, None] & inside_F, other=0.0).to(SUM)
        if HAS_BIAS:
            z_RF += tl.load(b1_F + i_F, mask=inside_F, other=0.0).to(SUM)
        w1_SF = tl.load(w1_FE + i_F * (D + S) + D + i_S[:, None], mask=inside_F & (i_S[:, None] < S), other=0.0)
        z_RF = tl.dot(s_RS, w1_SF, z_RF, input_precision=PRECISION, out_dtype=SUM)
        act_RF, _ = _activate(z_RF, ACTIVATION)
        w2_FG = tl.load(w2_GF + i_G * F + i_F[:, None], mask=inside_F[:, None] & (i_G < G), other=0.0)
        out_RG = tl.dot(act_RF.to(w2_FG.dtype), w2_FG, out_RG, input_precision=PRECISION, out_dtype=SUM)
    tl.store(out_NG + index_R[:, None] * G + i_G, out_RG, mask=real_R[:, None] & (i_G < G))


@triton.jit
def _backward_kernel(
    grad_NG, shared_MF, s_NS, w1_FE, b1_F, w2_GF, grad_shared_MF, grad_s_NS, parts_TFS, parts_TGF, parts_TF,
    M, H, D, S, F, G,
    ACTIVATION: tl.constexpr, HAS_BIAS: tl.constexpr, SUM: tl.constexpr, PRECISION: tl.constexpr,
    TOKENS: tl.constexpr, P: tl.constexpr, BF: tl.constexpr, SP: tl.constexpr, GP: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0).to(tl.int64)
    token_R, index_R, real_R = _rows(M, H, TOKENS, P)
    token_T = tile * TOKENS + tl.arange(0, TOKENS)
    i_S, i_G = tl.arange(0, SP), tl.arange(0, GP)
    s_RS = tl.load(s_NS + index_R[:, None] * S + i_S, mask=real_R[:, None] & (i_S < S), other=0.0)
    grad_RG = tl.load(grad_NG + index_R[:, None] * G + i_G, mask=real_R[:, None] & (i_G < G), other=0.0)
    grad_s_RS = tl.zeros([TOKENS * P, SP], dtype=SUM)
    for start in range(0, F, BF):
        i_F = start + tl.arange(0, BF)
        inside_F = i_F < F
        z_RF = tl.load(shared_MF + token_R[:, None] * F + i_F, mask=real_R[:, None] & inside_F, other=0.0).to(SUM)
        if HAS_BIAS:
            z_RF += tl.load(b1_F + i_F, mask=inside_F, other=0.0).to(SUM)
        w1_FS = tl.load(w1_FE + i_F[:, None] * (D + S) + D + i_S, mask=inside_F[:, None] & (i_S < S), other=0.0)
        z_RF = tl.dot(s_RS, tl.trans(w1_FS), z_RF, input_precision=PRECISION, out_dtype=SUM)
        act_RF, slope_RF = _activate(z_RF, ACTIVATION)
        # Rows that do not exist have no upstream gradient, and so add nothing to any sum.
        act_RF = act_RF.to(grad_RG.dtype)
        grad_w2_GF = tl.dot(tl.trans(grad_RG), act_RF, input_precision=PRECISION, out_dtype=SUM)
        tl.store(parts_TGF + tile * G * F + i_G[:, None] * F + i_F, grad_w2_GF, mask=(i_G[:, None] < G) & inside_F)
        w2_GF_block = tl.load(w2_GF + i_G[:, None] * F + i_F, mask=(i_G[:, None] < G) & inside_F, other=0.0)
        grad_z_RF = slope_RF * tl.dot(grad_RG, w2_GF_block, input_precision=PRECISION, out_dtype=SUM)
        grad_z_TF = tl.sum(tl.reshape(grad_z_RF, [TOKENS, P, BF]), axis=1)
        mask_TF = (token_T[:, None] < M) & inside_F
        tl.store(grad_shared_MF + token_T[:, None] * F + i_F, grad_z_TF, mask=mask_TF)
        tl.store(parts_TF + tile * F + i_F, tl.sum(grad_z_TF, axis=0), mask=inside_F)
        rounded_RF = grad_z_RF.to(s_RS.dtype)
        grad_s_RS = tl.dot(rounded_RF, w1_FS, grad_s_RS, input_precision=PRECISION, out_dtype=SUM)
        grad_w1_FS = tl.dot(tl.trans(rounded_RF), s_RS, input_precision=PRECISION, out_dtype=SUM)
        tl.store(parts_TFS + tile * F * S + i_F[:, None] * S + i_S, grad_w1_FS, mask=inside_F[:, None] & (i_S < S))
    tl.store(grad_s_NS + index_R[:, None] * S + i_S, grad_s_RS, mask=real_R[:, None] & (i_S < S))


def head_gate_triton(
    h_BTD: Tensor,
    s_BTHS: Tensor,
    w1_FE: Tensor,
    b1_F: Tensor | None,
    w2_GF: Tensor,
    b2_G: Tensor | None,
    activation: str,
) -> Tensor:
    """`kernels.head_gate`, as kernels; arguments already checked and of one dtype."""
    out_BTHG: Tensor = _gate(h_BTD, s_BTHS, w1_FE, b1_F, w2_GF, activation)
    return out_BTHG if b2_G is None else out_BTHG + b2_G


def _constants(
    tiling: _Tiling, H: int, S: int, activation: str, has_bias: bool, dtype: torch.dtype, precision: str
) -> dict[str, Any]:
    """The constants of both kernels."""
    heads = triton.next_power_of_2(H)
    return {
        "ACTIVATION": activation,
        "HAS_BIAS": has_bias,
        "SUM": tl.float64 if dtype == torch.float64 else tl.float32,
        "PRECISION": precision,
        "TOKENS": tiling.rows // heads,
        "P": heads,
        "BF": tiling.features,
        "SP": max(16, triton.next_power_of_2(S)),
        "GP": 16,
    }


class _Launch(NamedTuple):
    """What both launches need."""

    hidden: Tensor  # h_MD
    inputs: tuple[Tensor | None, ...]  # shared_MF, s_NS, w1_FE, b1_F, w2_GF
    sizes: tuple[int, ...]  # M, H, D, S, F, G
    options: dict[str, Any]
    tiles: int


def _launch(
    tilings: dict[str, _Tiling],
    h_BTD: Tensor,
    s_BTHS: Tensor,
    w1_FE: Tensor,
    b1_F: Tensor | None,
    w2_GF: Tensor,
    activation: str,
) -> _Launch:
    """Arguments in memory order, the part that all heads share, and the tiling that fits."""
    B, T, D = h_BTD.shape
    H, S = s_BTHS.shape[2:]
    G, F = w2_GF.shape
    h_MD, w1_FE = h_BTD.reshape(B * T, D), w1_FE.contiguous()
    precision = "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    exact = precision == "ieee" and h_BTD.dtype.itemsize > 2
    tiling = tilings["exact" if exact else "fast"]
    constants = _constants(tiling, H, S, activation, b1_F is not None, h_BTD.dtype, precision)
    return _Launch(
        hidden=h_MD,
        inputs=(
            h_MD @ w1_FE[:, :D].T,
            s_BTHS.reshape(B * T * H, S).contiguous(),
            w1_FE,
            None if b1_F is None else b1_F.contiguous(),
            w2_GF.contiguous(),
        ),
        sizes=(B * T, H, D, S, F, G),
        options={**constants, "num_warps": tiling.num_warps, "num_stages": tiling.num_stages},
        tiles=triton.cdiv(B * T, constants["TOKENS"]),
    )


@torch.library.custom_op("archaudit::head_gate", mutates_args=())
def _gate(h_BTD: Tensor, s_BTHS: Tensor, w1_FE: Tensor, b1_F: Tensor | None, w2_GF: Tensor, activation: str) -> Tensor:
    launch = _launch(_FORWARD, h_BTD, s_BTHS, w1_FE, b1_F, w2_GF, activation)
    out_BTHG = torch.empty(*s_BTHS.shape[:3], w2_GF.shape[0], dtype=h_BTD.dtype, device=h_BTD.device)
    with torch.cuda.device_of(h_BTD):
        _forward_kernel[(launch.tiles,)](*launch.inputs, out_BTHG, *launch.sizes, **launch.options)
    return out_BTHG


@_gate.register_fake
def _gate_shape(
    h_BTD: Tensor, s_BTHS: Tensor, w1_FE: Tensor, b1_F: Tensor | None, w2_GF: Tensor, activation: str
) -> Tensor:
    return h_BTD.new_empty([*s_BTHS.shape[:3], w2_GF.shape[0]])


@torch.library.custom_op("archaudit::head_gate_backward", mutates_args=())
def _gate_backward(
    grad_BTHG: Tensor,
    h_BTD: Tensor,
    s_BTHS: Tensor,
    w1_FE: Tensor,
    b1_F: Tensor | None,
    w2_GF: Tensor,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    launch = _launch(_BACKWARD, h_BTD, s_BTHS, w1_FE, b1_F, w2_GF, activation)
    M, _, D, S, F, G = launch.sizes
    like: dict[str, Any] = {"dtype": h_BTD.dtype, "device": h_BTD.device}
    sums = {**like, "dtype": working_dtype(h_BTD)}
    grad_shared_MF, grad_s_BTHS = torch.empty(M, F, **like), torch.empty(s_BTHS.shape, **like)
    parts = [torch.empty(launch.tiles, *shape, **sums) for shape in ((F, S), (G, F), (F,))]
    made = grad_shared_MF, grad_s_BTHS, *parts
    with torch.cuda.device_of(h_BTD):
        _backward_kernel[(launch.tiles,)](
            grad_BTHG.contiguous(), *launch.inputs, *made, *launch.sizes, **launch.options
        )
    grad_w1_FS, grad_w2_GF, grad_b1_F = (part.sum(0).to(h_BTD.dtype) for part in parts)
    grad_w1_FE = torch.cat([grad_shared_MF.T @ launch.hidden, grad_w1_FS], dim=1)
    grad_h_BTD = (grad_shared_MF @ w1_FE[:, :D]).view(h_BTD.shape)
    return grad_h_BTD, grad_s_BTHS, grad_w1_FE, grad_b1_F, grad_w2_GF


@_gate_backward.register_fake
def _gate_backward_shape(
    grad_BTHG: Tensor,
    h_BTD: Tensor,
    s_BTHS: Tensor,
    w1_FE: Tensor,
    b1_F: Tensor | None,
    w2_GF: Tensor,
    activation: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    like = [h_BTD, s_BTHS, w1_FE, w1_FE[:, 0], w2_GF]
    made = [torch.empty(each.shape, dtype=h_BTD.dtype, device=h_BTD.device) for each in like]
    return made[0], made[1], made[2], made[3], made[4]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.activation = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad_BTHG: Tensor) -> tuple[Tensor | None, ...]:
    with torch.autocast(grad_BTHG.device.type, enabled=False):  # a caller may be within it
        *grads, grad_b1_F, grad_w2_GF = _gate_backward(grad_BTHG, *ctx.saved_tensors, ctx.activation)
    return *grads, (grad_b1_F if ctx.needs_input_grad[3] else None), grad_w2_GF, None


_gate.register_autograd(_differentiate, setup_context=_save)


@register_flop_formula(torch.ops.archaudit.head_gate)
def _forward_products(h: Sequence[int], s: Sequence[int], *weights: Any, **more: object) -> int:
    """FLOPs of the factorised products: the hidden states' once a token, the others once a head."""
    (B, T, D), (H, S), (G, F) = h, s[2:], weights[2]
    return 2 * B * T * int(F) * (D + H * (S + int(G)))


@register_flop_formula(torch.ops.archaudit.head_gate_backward)
def _backward_products(grad: object, h: Sequence[int], s: Sequence[int], *weights: Any, **more: object) -> int:
    """Two products for each of the forward pass, and the first layer once more."""
    (B, T, D), (H, S), F = h, s[2:], int(weights[0][0])
    return 2 * _forward_products(h, s, *weights) + 2 * B * T * F * (D + H * S)


def _compilation(backward: bool, kind: str, precision: str, S: int) -> Compilation:
    """One configuration for sm_90: "bf16" or "fp32", products "tf32" or "ieee", with S statistics and 8 heads."""
    exact = kind == "fp32" and precision == "ieee"
    tiling = (_BACKWARD if backward else _FORWARD)["exact" if exact else "fast"]
    kernel = _backward_kernel if backward else _forward_kernel
    constants = _constants(tiling, 8, S, "gelu", True, torch.float32, precision)
    sizes = {"M": "i32:16", "H": "i32", "D": "i32:16", "S": "i32:16", "F": "i32:16", "G": "i32"}
    pointers = [name for name in kernel.arg_names if name not in constants and name not in sizes]
    types = {name: "*fp32" if name.startswith("parts_") else f"*{kind}" for name in pointers}
    return Compilation(
        name=f"head_gate {'backward' if backward else 'forward'} {kind}{' exact' if exact else ''} S{S}",
        kernel=kernel,
        signature=types | sizes,
        constants=constants,
        num_warps=tiling.num_warps,
        num_stages=tiling.num_stages,
        tensor_cores=not exact,
    )


COMPILATIONS = (
    _compilation(False, "bf16", "tf32", 16),
    _compilation(True, "bf16", "tf32", 16),
    _compilation(True, "bf16", "tf32", 64),
    _compilation(True, "fp32", "tf32", 64),
    _compilation(False, "fp32", "ieee", 64),
    _compilation(True, "fp32", "ieee", 64),
)
