"""What `kernels.bench` times: each operator at the shapes in use, in several forms, with its work by count.

The plain forms follow the habits of published programs: one grouped convolution a filter on [B, C, T], statistics
one by one and a stack before the weighted sum, a gate's inputs expanded over heads, a delta rule that inverts each
chunk row by row. A form takes the tensors of `Case.inputs` and returns the outputs, on which gradients are taken.

Shapes: B batch, T time, C channels, H heads, D head size (or hidden size of the head gate), N branches, W taps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.backends import Backend
from kernels.branch_mix import branch_mix, branch_moments
from kernels.delta_rule import delta_rule
from kernels.fir import fir
from kernels.head_gate import head_gate

Form = Callable[..., tuple[Tensor, ...]]
Profile = Literal["gpu", "cpu", "tiny"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """An operator at one shape.

    inputs: (device, dtype, generator) -> tensors, all of which get gradients. weights: how many of the last inputs
    are parameters. reference: the definition, run in float64. flops, elements: floating-point operations and numbers
    moved to and from memory by forward and backward together, at the least: every input read once, every output
    written once, for each of the two passes. tolerance: of relative errors in bfloat16.
    """

    operator: str
    size: str
    shape: str
    inputs: Callable[[torch.device, torch.dtype, torch.Generator], tuple[Tensor, ...]]
    weights: int
    reference: Form
    forms: Mapping[str, Form]
    flops: float
    elements: float
    tolerance: float

    @property
    def name(self) -> str:
        """Operator and shape, as a key."""
        return f"{self.operator} {self.shape}"


def cases(profile: Profile) -> list[Case]:
    """The cases of a GPU, of a CPU, or tiny ones that only show that everything runs."""
    if profile == "gpu":
        return [
            fir_case("20M", 8, 2048, 256, (5, 64), profile),
            fir_case("340M", 8, 2048, 1024, (5, 64), profile),
            fir_case("340M", 8, 2048, 1024, (3, 31), profile),
            mix_case("20M", 8, 2048, 8, 32, 4, profile),
            mix_case("340M", 8, 2048, 8, 128, 4, profile),
            gate_case("20M", 8, 2048, 256, 8, profile),
            gate_case("340M", 4, 2048, 1024, 8, profile),
            *(delta_case(size, 8, 2048, 8, D, profile) for size, D in SMALL_HEADS.items()),
        ]
    B, T = (4, 128) if profile == "cpu" else (2, 40)
    size = "cpu-large" if profile == "cpu" else "tiny"
    return [
        fir_case(size, B, T, 96, (5, 64), profile),
        fir_case(size, B, T, 96, (3, 31), profile),
        mix_case(size, B, T, 4, 24, 4, profile),
        gate_case(size, B, T, 96, 4, profile),
        delta_case(size, B, T, 4, 24, profile),
    ]


SMALL_HEADS = {"heads of 16": 16, "20M": 32, "heads of 64": 64, "340M": 128}  # size -> head size


def _ours(profile: Profile) -> Backend:
    return "triton" if profile == "gpu" else "chunk"


def _draw(shape: Sequence[int], device: torch.device, generator: torch.Generator, spread: float = 1.0) -> Tensor:
    return torch.randn(*shape, device=device, generator=generator) * spread


def _leaves(tensors: Sequence[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    return tuple(tensor.to(dtype).requires_grad_() for tensor in tensors)


# Causal filters.


def fir_case(size: str, B: int, T: int, C: int, taps: tuple[int, ...], profile: Profile) -> Case:
    """A bank of filters over [B, T, C]."""

    def inputs(device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> tuple[Tensor, ...]:
        filters = [_draw((C, W), device, generator, W**-0.5) for W in taps]
        return _leaves([_draw((B, T, C), device, generator), *filters], dtype)

    def served(backend: Backend) -> Form:
        return lambda x, *filters: fir(x, filters, backend=backend)

    forms: dict[str, Form] = {"eager": _conv1d}
    if profile != "cpu":
        forms |= {"compiled": _conv1d, "fla": served("fla")}
    N = len(taps)
    return Case(
        operator="fir", size=size, shape=f"B{B} T{T} C{C} taps {'+'.join(map(str, taps))}", inputs=inputs, weights=N,
        reference=_shifted_products, forms={**forms, "ours": served(_ours(profile))},
        flops=6.0 * B * T * C * sum(taps), elements=B * T * C * (3.0 + 2 * N), tolerance=2e-2,
    )  # fmt: skip


def _conv1d(x_BTC: Tensor, *filters: Tensor) -> tuple[Tensor, ...]:
    x_BCT = x_BTC.transpose(1, 2).contiguous()
    channels = x_BCT.shape[1]
    padded = [F.pad(x_BCT, (taps_CW.shape[1] - 1, 0)) for taps_CW in filters]
    outputs = [F.conv1d(x, taps_CW[:, None], groups=channels) for x, taps_CW in zip(padded, filters, strict=True)]
    return tuple(output.transpose(1, 2).contiguous() for output in outputs)


def _shifted_products(x_BTC: Tensor, *filters: Tensor) -> tuple[Tensor, ...]:
    T = x_BTC.shape[1]
    outputs = []
    for taps_CW in filters:
        W = taps_CW.shape[1]
        padded = F.pad(x_BTC, (0, 0, W - 1, 0))
        output = padded[:, :T] * taps_CW[:, 0]
        for w in range(1, W):
            output = output + padded[:, w : w + T] * taps_CW[:, w]
        outputs.append(output)
    return tuple(outputs)


# Statistics of branches and their weighted sum.


def mix_case(size: str, B: int, T: int, H: int, D: int, N: int, profile: Profile) -> Case:
    """Moments of N branches [B, T, H, D], and their sum with weights [B, T, H, N]."""

    def inputs(device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> tuple[Tensor, ...]:
        branches = [_draw((B, T, H, D), device, generator) for _ in range(N)]
        weights = _draw((B, T, H, N), device, generator).softmax(-1)
        return _leaves([*branches, weights], dtype)

    def served(*tensors: Tensor) -> tuple[Tensor, ...]:
        *branches, weights = tensors
        backend = _ours(profile)
        return branch_moments(branches, backend=backend), branch_mix(branches, weights, backend=backend)

    forms: dict[str, Form] = {"eager": _stacked}
    if profile != "cpu":
        forms |= {"compiled": _stacked}
    numbers = B * T * H * D * (6.0 * N + 2) + B * T * H * N * 13.0
    return Case(
        operator="branch_mix", size=size, shape=f"B{B} T{T} H{H} D{D} branches {N}", inputs=inputs, weights=0,
        reference=_stacked, forms={**forms, "ours": served},
        flops=30.0 * B * T * H * D * N, elements=numbers, tolerance=2e-2,
    )  # fmt: skip


def _stacked(*tensors: Tensor) -> tuple[Tensor, ...]:
    *branches, weights_BTHN = tensors
    moments = [
        torch.stack(
            [x.mean(-1), x.var(-1, unbiased=False), x.abs().mean(-1), x.norm(dim=-1), x.max(dim=-1).values], dim=-1
        )
        for x in branches
    ]
    mixed = (torch.stack(branches, dim=-2) * weights_BTHN.unsqueeze(-1)).sum(-2)
    return torch.stack(moments, dim=-2), mixed


# A gate for each head.


def gate_case(size: str, B: int, T: int, D: int, H: int, profile: Profile, S: int = 16, G: int = 4) -> Case:
    """W2 gelu(W1 [h; s] + b1) + b2 for each head, with as many hidden features as the model has."""
    features = D

    def inputs(device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> tuple[Tensor, ...]:
        h_BTD, s_BTHS = _draw((B, T, D), device, generator), _draw((B, T, H, S), device, generator)
        w1 = _draw((features, D + S), device, generator, (D + S) ** -0.5)
        w2 = _draw((G, features), device, generator, features**-0.5)
        biases = _draw((features,), device, generator, 0.1), _draw((G,), device, generator, 0.1)
        return _leaves([h_BTD, s_BTHS, w1, biases[0], w2, biases[1]], dtype)

    def served(h: Tensor, s: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> tuple[Tensor, ...]:
        return (head_gate(h, s, w1, b1, w2, b2, activation="gelu", backend=_ours(profile)),)

    forms: dict[str, Form] = {"eager": _expanded}
    if profile != "cpu":
        forms |= {"compiled": _expanded}
    products = 2.0 * B * T * (D * features + H * S * features + H * features * G)
    ends = B * T * (D + H * S + H * G)
    return Case(
        operator="head_gate", size=size, shape=f"B{B} T{T} D{D} H{H} S{S} F{features} G{G}", inputs=inputs, weights=4,
        reference=_expanded, forms={**forms, "ours": served},
        flops=3 * products, elements=3.0 * ends, tolerance=2e-2,
    )  # fmt: skip


def _expanded(h: Tensor, s: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> tuple[Tensor, ...]:
    expanded_BTHD = h.unsqueeze(2).expand(-1, -1, s.shape[2], -1)
    hidden = F.gelu(F.linear(torch.cat([expanded_BTHD, s], dim=-1), w1, b1))
    return (F.linear(hidden, w2, b2),)


# The delta rule.


def delta_case(size: str, B: int, T: int, H: int, D: int, profile: Profile) -> Case:
    """The plain delta rule with keys of unit length."""

    def inputs(device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> tuple[Tensor, ...]:
        q, k = (F.normalize(_draw((B, T, H, D), device, generator), dim=-1) for _ in range(2))
        beta = _draw((B, T, H), device, generator).sigmoid()
        return _leaves([q, k, _draw((B, T, H, D), device, generator), beta], dtype)

    def served(backend: Backend) -> Form:
        def form(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> tuple[Tensor, ...]:
            return (delta_rule(q, k, v, beta, backend=backend),)

        return form

    forms: dict[str, Form] = {"eager": _row_by_row}
    if profile != "cpu":
        # The loop is unrolled: compiling it takes a minute, and once will do.
        forms |= ({"compiled": _row_by_row} if D <= 32 and size != "heads of 16" else {}) | {"fla": served("fla")}
    return Case(
        operator="delta_rule", size=size, shape=f"B{B} T{T} H{H} D{D}", inputs=inputs, weights=0,
        reference=served("chunk"), forms={**forms, "ours": served(_ours(profile))},
        flops=18.0 * B * T * H * D * D, elements=B * T * H * (11.0 * D + 3), tolerance=4e-2,
    )  # fmt: skip


def _row_by_row(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, chunk: int = 32) -> tuple[Tensor, ...]:
    """Chunks of 32 tokens; the inverse of each is made row by row, and the state is carried by a Python loop."""
    T = q.shape[1]
    q, k, v = (F.pad(x, (0, 0, 0, 0, 0, -T % chunk)).unflatten(1, (-1, chunk)).transpose(2, 3) for x in (q, k, v))
    beta = F.pad(beta, (0, 0, 0, -T % chunk)).unflatten(1, (-1, chunk)).transpose(2, 3).unsqueeze(-1)
    inverse = -torch.tril((k * beta) @ k.mT, -1)
    for i in range(1, chunk):
        row = inverse[..., i, :i]
        row = row + (row.unsqueeze(-1) * inverse[..., :i, :i]).sum(-2)
        inverse = torch.cat(
            [inverse[..., :i, :], torch.cat([row, inverse[..., i, i:]], -1).unsqueeze(-2), inverse[..., i + 1 :, :]], -2
        )
    inverse = inverse + torch.eye(chunk, dtype=q.dtype, device=q.device)
    values, erased = inverse @ (v * beta), inverse @ (k * beta)
    within = torch.tril(q @ k.mT)
    state = q.new_zeros(q.shape[0], q.shape[2], q.shape[-1], v.shape[-1])
    outputs = []
    for n in range(q.shape[1]):
        change = values[:, n] - erased[:, n] @ state
        outputs.append(q[:, n] @ state + within[:, n] @ change)
        state = state + k[:, n].mT @ change
    return (torch.stack(outputs, dim=1).transpose(2, 3).flatten(1, 2)[:, :T],)


@functools.cache
def compiled(form: Form) -> Form:
    """The form through torch.compile, for fixed shapes; without a GPU only traced, which needs no C++ compiler."""
    backend = "inductor" if torch.cuda.is_available() else "aot_eager"
    made: Form = torch.compile(form, dynamic=False, backend=backend)
    return made
