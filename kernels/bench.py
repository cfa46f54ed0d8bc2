"""Times of the operators side by side, none before its result was checked, and the ceilings of the hardware.

A row is one form of one operator at one shape (`kernels.bench_cases`), forward and backward: its relative error
against the definition in float64 on fresh random inputs, then medians and quartiles of repeats that rotate over
inputs beyond the cache. On a GPU they are times between CUDA events, once as launched from Python and once as the
replay of a CUDA graph; on a CPU those of a clock. Operations and bytes are counts, to be set against the ceilings
(`ceilings`): device copy in bytes a second (read and written), matrix products in operations a second.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kernels.bench_cases import Case, Form, compiled

Row = dict[str, str | float | int | None]
Call = Callable[[], object]
CACHE_BYTES = 60 * 2**20  # L2 of an H200; smaller elsewhere
MOST_SETS = 8
_captured: list[object] = []  # graphs whose capture broke off: the allocator still refers to them
_SHORT = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds of a call: median and quartiles of repeats."""

    seconds: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """The median and quartiles of some repeats."""
        low, middle, high = torch.tensor(seconds, dtype=torch.float64).quantile(
            torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
        )
        return cls(seconds=float(middle), low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How calls are timed: on which device, how often, and how many calls come before."""

    device: torch.device
    warmup: int
    repeats: int

    def time(self, calls: Sequence[Call]) -> Timing:
        """Of one call as launched from Python; the calls take turns."""
        for index in range(max(self.warmup, len(calls))):
            calls[index % len(calls)]()
        if self.device.type != "cuda":
            return Timing.of([_on_clock(calls[index % len(calls)]) for index in range(self.repeats)])
        torch.cuda.synchronize()
        return _by_events([calls[index % len(calls)] for index in range(self.repeats)], 1)

    def replay(self, calls: Sequence[Call]) -> Timing | None:
        """Of one call in the replay of a CUDA graph of them all; None on a CPU.

        Raises RuntimeError where CUDA cannot capture them.
        """
        if self.device.type != "cuda":
            return None
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for call in calls:
                call()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        _captured.append(graph)
        # The outer context: a capture that breaks off leaves its stream as the current one.
        with torch.cuda.stream(side), torch.cuda.graph(graph, stream=side):
            for call in calls:
                call()
        _captured.pop()
        for _ in range(2):
            graph.replay()
        torch.cuda.synchronize()
        return _by_events([graph.replay] * self.repeats, len(calls))


def _on_clock(call: Call) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _by_events(calls: Sequence[Call], parts: int) -> Timing:
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in calls]
    for call, (begin, end) in zip(calls, marks, strict=True):
        begin.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return Timing.of([begin.elapsed_time(end) / 1000 / parts for begin, end in marks])


# Ceilings.


def ceilings(clock: Clock, *, tiny: bool) -> Iterator[Row]:
    """Rows of kind "ceiling": a copy, and matrix products in the number formats of the device."""
    on_gpu = clock.device.type == "cuda"
    numbers = 2**30 if on_gpu else 2**14 if tiny else 2**25
    source = torch.randn(numbers, device=clock.device)
    timing = clock.time([functools.partial(torch.empty_like(source).copy_, source)])
    yield _ceiling("copy", f"{4 * numbers / 2**20:g} MiB", "float32", timing, 0.0, 8.0 * numbers)
    del source
    side = 8192 if on_gpu else 64 if tiny else 1024
    kinds = [("bfloat16", torch.bfloat16, "highest"), ("tf32", torch.float32, "high")] if on_gpu else []
    for name, dtype, precision in [*kinds, ("float32", torch.float32, "highest")]:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(precision)
        a, b = (torch.randn(side, side, device=clock.device).to(dtype) for _ in range(2))
        timing = clock.time([functools.partial(torch.matmul, a, b)])
        torch.set_float32_matmul_precision(before)
        yield _ceiling("matmul", f"{side} x {side}", name, timing, 2.0 * side**3, 3.0 * a.nbytes)


def _ceiling(name: str, shape: str, dtype: str, timing: Timing, flops: float, moved: float) -> Row:
    times: Row = {"seconds": timing.seconds, "low": timing.low, "high": timing.high}
    row: Row = {"kind": "ceiling", "name": name, "shape": shape, "form": dtype, "dtype": dtype, "status": "ok"}
    return row | times | {"flops": flops, "bytes": moved}


# Operators.


def measure(case: Case, forms: Sequence[str], clock: Clock, dtype: torch.dtype, turn: Call) -> Iterator[Row]:
    """One row of kind "operator" for each of the forms of a case.

    Args:
        dtype: of all inputs.
        turn: called once a form between the check and the timing, which should then have the machine for itself.

    Columns of a row: kind, name, size, shape, form, dtype, status, reason, error, tolerance, flops, bytes,
    saved_bytes, and for status "ok" seconds, low, high, graph_seconds, graph_low, graph_high. Other statuses are
    "wrong", "refused" (the form cannot serve here; the reason says why) and "out of memory"; they bear no time. What
    else a form raises passes through.
    """
    sets = _input_sets(case, clock.device, dtype)
    upstream = _upstream(case, sets[0])
    expected = _gradients(case.reference, [x.detach().double().requires_grad_() for x in sets[0]], upstream)
    expected = [each.float() if clock.device.type == "cuda" else each for each in expected]
    for form in forms:
        row: Row = {
            "kind": "operator", "name": case.operator, "size": case.size, "shape": case.shape, "form": form,
            "dtype": _SHORT[dtype], "flops": case.flops, "bytes": case.elements * dtype.itemsize,
        }  # fmt: skip
        try:
            yield row | _measured(case, form, sets, upstream, expected, clock, turn)
        except ValueError as error:  # an operator's word for: this form cannot serve here
            yield row | {"status": "refused", "reason": " ".join(str(error).split())[:200]}
        except torch.OutOfMemoryError:
            yield row | {"status": "out of memory"}


def _measured(
    case: Case,
    form: str,
    sets: Sequence[Sequence[Tensor]],
    upstream: Sequence[Tensor],
    expected: Sequence[Tensor],
    clock: Clock,
    turn: Call,
) -> Row:
    function = compiled(case.forms[form]) if form == "compiled" else case.forms[form]
    error = _worst(_gradients(function, sets[0], upstream), expected)
    bound = tolerance(case, sets[0][0])
    checked: Row = {"error": error, "tolerance": bound, "saved_bytes": saved_bytes(function, sets[0], case.weights)}
    if not error <= bound:
        return checked | {"status": "wrong", "reason": f"relative error {error:.2g}, at most {bound:g}"}
    calls = [functools.partial(_gradients, function, inputs, upstream) for inputs in sets]
    turn()
    timing = clock.time(calls)
    times: Row = {"status": "ok", "seconds": timing.seconds, "low": timing.low, "high": timing.high}
    try:
        replayed = clock.replay(calls)
    except RuntimeError as failure:
        return checked | times | {"reason": f"no graph: {failure}"[:200]}
    if replayed is not None:
        times |= {"graph_seconds": replayed.seconds, "graph_low": replayed.low, "graph_high": replayed.high}
    return checked | times


def tolerance(case: Case, x: Tensor) -> float:
    """The largest relative error that passes, for inputs like x."""
    if x.dtype in (torch.bfloat16, torch.float16):
        return case.tolerance
    return 5e-3 if x.device.type == "cuda" else 1e-4  # TF32 products on a GPU


def saved_bytes(form: Form, inputs: Sequence[Tensor], weights: int) -> int:
    """Bytes that a forward pass keeps for its backward pass, shared memory counted once; the last `weights` inputs,
    which are there anyway, are left out.
    """
    kept: dict[int, int] = {}
    left_out = {x.untyped_storage().data_ptr() for x in inputs[len(inputs) - weights :]}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in left_out:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        outputs = form(*inputs)
    del outputs
    return sum(kept.values())


def _input_sets(case: Case, device: torch.device, dtype: torch.dtype) -> list[tuple[Tensor, ...]]:
    generator = torch.Generator(device).manual_seed(0)
    first = case.inputs(device, dtype, generator)
    if device.type != "cuda":
        return [first, case.inputs(device, dtype, generator)]
    wanted = math.ceil(3 * CACHE_BYTES / sum(x.nbytes for x in first))
    return [first, *(case.inputs(device, dtype, generator) for _ in range(min(max(wanted, 2), MOST_SETS) - 1))]


def _upstream(case: Case, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Random gradients of the outputs."""
    x = inputs[0]
    generator = torch.Generator(x.device).manual_seed(1)
    with torch.no_grad():
        outputs = case.forms["eager"](*inputs)
    return [torch.randn(y.shape, device=x.device, generator=generator).to(x.dtype) for y in outputs]


def _gradients(form: Form, inputs: Sequence[Tensor], upstream: Sequence[Tensor]) -> list[Tensor]:
    """Outputs of a form, then the gradients of all inputs."""
    outputs = form(*inputs)
    given = [each.to(output.dtype) for each, output in zip(upstream, outputs, strict=True)]
    return [*outputs, *torch.autograd.grad(outputs, list(inputs), given)]


def _worst(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest of the tensors' relative errors, in norms; not a number counts as infinite."""
    worst = 0.0
    for ours, theirs in zip(found, expected, strict=True):
        distance = (ours.detach().to(theirs.dtype) - theirs.detach()).norm() / theirs.detach().norm().clamp_min(1e-30)
        worst = max(worst, float(distance.nan_to_num(math.inf, math.inf)))
    return worst
