"""One training step: batch, forward and backward over micro-batches, gradient clipping, AdamW.

`EagerStep` is the definition. `GraphStep` has the GPU record the same step once, as one CUDA graph, and replay it:
a step of a small model is hundreds of kernels of a few microseconds each, and launching them one by one costs more
than they do. Not every program can be recorded; one that cannot runs step by step as before, and `notes` says why.
"""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from replication.candidate import StateValue, python_state, restore_python_state
from replication.corpus import batch_offsets, train_batch
from replication.exchange import State
from replication.hidden import Snapshot
from replication.host_state import host_generators, host_state
from replication.record import Optimiser, RunSpec

WARM_UP = 3  # eager steps before a recording: lazy state and caches are made, and state that changes shows itself


class Seeded(Protocol):
    """What training asks of the mixers besides their calls (`mixers.Mixers`, `remote.RemoteMixers`)."""

    def begin(self, seed: int, key: str) -> None:
        """A step begins, with the parameters as they are now; draws come from the stream of (seed, key)."""

    def state(self) -> State:
        """State besides the parameters."""

    def restore(self, state: State) -> None:
        """Put it back."""


class Step(Protocol):
    """A training step of one model.

    Attributes:
        notes: what a record of the run should say of it.
    """

    notes: tuple[str, ...]

    def run(self, tokens: np.ndarray, index: int) -> float:
        """Do step `index`, counted from 0, on the training split `tokens`.

        Returns the mean cross-entropy of the batch in nats per token, or inf for a gradient that is not finite.
        """

    def launch(self, tokens: np.ndarray, index: int) -> None:
        """The first half of `run`: asks the device for the step. It may still be at work when this returns."""

    def read(self) -> float:
        """The second half: waits, and returns the loss of the step launched last. Weights are in place after it."""


class Recorder(Protocol):
    """What records work on a device. `CudaRecorder` does; tests have one that calls the work again instead."""

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """Recording, and all work of a step, is done within it. It starts after work asked for before; see `wait`."""

    def wait(self) -> None:
        """Wait until work done within `aside` has ended."""

    def strict(self) -> contextlib.AbstractContextManager[None]:
        """Within it, work for which the host waits raises RuntimeError."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record what `work` asks of the device, without doing it; returns what does it. Raises RuntimeError."""


def make_step(model: nn.Module, mixers: Seeded, optimiser: torch.optim.Optimizer, spec: RunSpec) -> Step:
    """The step that fits: recorded on a GPU if the mixers live in this process, else eager.

    Args:
        model: the whole model, in training mode.
        mixers: those in `model`; a module where they live in this process.
        optimiser: of its parameters; AdamW with `fused=True`.
        spec: of the run.
    """
    if spec.device != "cuda" or not isinstance(mixers, nn.Module):
        return EagerStep(model, mixers, optimiser, spec)
    device = next(model.parameters()).device
    return GraphStep(model, mixers, optimiser, spec, CudaRecorder(device))


def learning_rate(step: int, steps: int, peak: float, optimiser: Optimiser) -> float:
    """Learning rate of step 0 <= step < steps: linear warm-up, then a cosine, or constant with a linear decay (WSD)."""
    warmup = max(1, round(optimiser.warmup_fraction * steps))
    floor = optimiser.final_learning_rate
    if step < warmup:
        return peak * (step + 1) / warmup
    if optimiser.schedule == "cosine":
        progress = (step - warmup) / max(1, steps - warmup)
        return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))
    decay = max(1, round(optimiser.decay_fraction * steps))
    return peak * (floor + (1 - floor) * min(1.0, (steps - step) / decay))


class EagerStep:
    """The step, operation by operation. Arguments as for `make_step`."""

    def __init__(self, model: nn.Module, mixers: Seeded, optimiser: torch.optim.Optimizer, spec: RunSpec) -> None:
        self._model, self._mixers, self._optimiser, self._spec = model, mixers, optimiser, spec
        self.notes: tuple[str, ...] = ()
        self._loss = math.nan

    def launch(self, tokens: np.ndarray, index: int) -> None:
        """As `Step.launch`: the whole step."""
        self._loss = self.run(tokens, index)

    def read(self) -> float:
        """As `Step.read`."""
        return self._loss

    def run(self, tokens: np.ndarray, index: int) -> float:
        """As `Step.run`. A gradient that is not finite changes no parameter."""
        device = next(self._model.parameters()).device
        _begin(self._mixers, self._optimiser, self._spec, index)
        batches = _micro_batches(self._spec, tokens, index)
        found = []
        for inputs_BT, targets_BT in batches:
            loss, auxiliary = _losses(self._model, inputs_BT.to(device), targets_BT.to(device))
            ((loss + auxiliary) / len(batches)).backward()
            found.append(loss.detach())
        found.append(nn.utils.clip_grad_norm_(self._model.parameters(), self._spec.optimiser.gradient_clip))
        *losses, norm = torch.stack(found).tolist()  # read at once: a GPU would stand still for each
        if not math.isfinite(norm):  # clipping would hide it: it sets all finite gradients to 0
            return math.inf
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return _mean(losses)


class GraphStep:
    """The step, recorded after WARM_UP eager ones and then replayed.

    Inputs, targets and the learning rate are tensors on the device that every step fills anew. A recording draws from
    the generator of its recorder, with the seed that it has at the time of the replay. Each step seeds it from (seed,
    step), as an eager one does, so dropout differs from step to step and is the same in every run.

    Two things differ from `EagerStep`: the learning rate is rounded to float32, and a gradient that is not finite
    still reaches the parameters before `run` returns inf.

    Args:
        model, mixers, optimiser, spec: as for `make_step`. The learning rates become tensors.
        recorder: of the model's device.
    """

    def __init__(
        self, model: nn.Module, mixers: Seeded, optimiser: torch.optim.Optimizer, spec: RunSpec, recorder: Recorder
    ) -> None:
        self._model, self._mixers, self._optimiser, self._spec = model, mixers, optimiser, spec
        self._eager, self._recorder = EagerStep(model, mixers, optimiser, spec), recorder
        self.notes: tuple[str, ...] = ()
        self._device = next(model.parameters()).device
        for group in optimiser.param_groups:
            group["lr"] = torch.as_tensor(group["lr"], dtype=torch.float32).to(self._device)
        scale = spec.scale
        parts = scale.batch_size // scale.micro_batch_size
        shape = (parts, 2, scale.micro_batch_size, scale.sequence_length)  # inputs and targets of each micro-batch
        self._batch_M2BT = torch.zeros(shape, dtype=torch.int64, device=self._device)
        self._report = torch.zeros(parts + 1, device=self._device)  # loss of each micro-batch, norm of the gradient
        self._seen: list[dict[str, object]] = []
        self._replay: Callable[[], None] | None = None
        self._loss: float | None = None  # of a step that was eager

    def run(self, tokens: np.ndarray, index: int) -> float:
        """As `Step.run`."""
        self.launch(tokens, index)
        return self.read()

    def launch(self, tokens: np.ndarray, index: int) -> None:
        """As `Step.launch`; once the step is recorded, it does not wait for the device."""
        self._loss = None
        with self._recorder.aside():
            if self._replay is None and not self.notes and len(self._seen) == WARM_UP:
                self._record(tokens, index)
            if self._replay is None:
                self._loss = self._eager.run(tokens, index)
            else:
                self._begin(tokens, index)
                self._replay()
        if not self.notes:
            self._seen.append(host_state(self._model))

    def read(self) -> float:
        """As `Step.read`."""
        self._recorder.wait()
        if self._loss is not None:
            return self._loss
        *losses, norm = self._report.tolist()
        return _mean(losses) if math.isfinite(norm) else math.inf

    def _begin(self, tokens: np.ndarray, index: int) -> None:
        _begin(self._mixers, self._optimiser, self._spec, index)
        self._batch_M2BT.copy_(torch.stack([torch.stack(batch) for batch in _micro_batches(self._spec, tokens, index)]))

    def _record(self, tokens: np.ndarray, index: int) -> None:
        """Record the step if that is sound; `notes` says what came of it."""
        begin = functools.partial(self._begin, tokens, index)
        reason = self._obstacle(begin)
        if reason is None:
            begin()
            reason = self._capture()
        self._seen.clear()
        done = "training steps replay one CUDA graph"
        self.notes = (done if reason is None else f"training steps without a CUDA graph: {reason}",)

    def _obstacle(self, begin: Callable[[], None]) -> str | None:
        """Why a replay would not do what the step does."""
        changed, kept = self._changes()
        if changed:
            more = ", and others" if len(changed) > 1 else ""
            return f"the program changes {changed[0]} from step to step{more}"
        begin()
        drawn = host_generators(self._device)
        try:
            found = self._try(begin, {})
            if drawn != host_generators(self._device):
                return "the program draws random numbers on the CPU"
            if kept and not torch.equal(found, self._try(begin, kept)):
                return f"the program reads {sorted(kept)[0]} of the step before"
        except RuntimeError as error:
            return _first_line(error)
        return None

    def _changes(self) -> tuple[list[str], dict[str, StateValue]]:
        """What the host changes from step to step: a replay would go on with what it was when recorded.

        Not so bad are tensors that each call leaves behind, for a log or a later reader of the same call, if no later
        step reads them. These come second, as NaN.
        """
        first, last = self._seen[-2:]  # the first step of all makes caches
        changed = {name for name in first.keys() | last.keys() if first.get(name) != last.get(name)}
        kept: dict[str, StateValue] = {}
        for name, value in python_state(self._model).items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and name.replace(":", ".") in changed:
                kept[name] = torch.full_like(value, torch.nan)
        return sorted(changed - {name.replace(":", ".") for name in kept}), kept

    def _try(self, begin: Callable[[], None], hidden: dict[str, StateValue]) -> torch.Tensor:
        """Losses, and the norm of each gradient, of forward and backward with `hidden` in place; undone after it.

        Raises RuntimeError where the host waits for the device: here it breaks nothing.
        """
        before = Snapshot.take(self._model)
        restore_python_state(self._model, hidden)
        begin()
        try:
            with self._recorder.strict():
                self._forward_backward()
            gradients = [parameter.grad for parameter in self._model.parameters() if parameter.grad is not None]
            return torch.stack([*self._report[:-1], *(gradient.float().norm() for gradient in gradients)])
        finally:
            self._optimiser.zero_grad(set_to_none=True)
            before.restore(self._model)

    def _capture(self) -> str | None:
        groups = self._optimiser.param_groups
        try:
            for group in groups:
                group["capturable"] = True
            self._replay = self._recorder.record(self._whole)
        except RuntimeError as error:
            self._optimiser.zero_grad(set_to_none=True)
            return _first_line(error)
        finally:
            for group in groups:  # it stands in checkpoints, and makes the eager steps after one warn
                group["capturable"] = False
        return None

    def _whole(self) -> None:
        # Gradients start as None, so the first micro-batch of a replay overwrites those of the replay before.
        self._optimiser.zero_grad(set_to_none=True)
        self._forward_backward()
        norm = nn.utils.clip_grad_norm_(self._model.parameters(), self._spec.optimiser.gradient_clip)
        self._report[-1].copy_(norm)
        self._optimiser.step()

    def _forward_backward(self) -> None:
        parts = len(self._batch_M2BT)
        for part, (inputs_BT, targets_BT) in enumerate(self._batch_M2BT):
            loss, auxiliary = _losses(self._model, inputs_BT, targets_BT)
            ((loss + auxiliary) / parts).backward()
            self._report[part].copy_(loss.detach())


class CudaRecorder:
    """Records into a `torch.cuda.CUDAGraph`, on a stream and from a generator of its own.

    So the steps of several models can be at work at once, and each draws what it would draw alone.

    Args:
        device: a CUDA device, with its index.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream, self._generator = torch.cuda.Stream(device), torch.Generator(device)
        self._broken: torch.cuda.CUDAGraph | None = None

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """As `Recorder.aside`."""
        everybodys = torch.cuda.default_generators[self._device.index]
        before = everybodys.graphsafe_get_state()
        everybodys.graphsafe_set_state(self._generator)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            everybodys.graphsafe_set_state(before)

    def wait(self) -> None:
        """As `Recorder.wait`."""
        self._stream.synchronize()

    @contextlib.contextmanager
    def strict(self) -> Iterator[None]:
        """As `Recorder.strict`."""
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings():  # that this mode is a prototype and misses some operations
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(before)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """As `Recorder.record`; recording registers the generator that is the device's at the time, so the own one."""
        graph = torch.cuda.CUDAGraph()
        try:
            # The outer context: a recording that breaks off leaves its stream as the current one.
            with torch.cuda.stream(self._stream), torch.cuda.graph(graph, stream=self._stream):
                work()
        except RuntimeError:
            # The allocator still refers to the graph, and the generator takes itself for recorded and would not draw.
            self._broken, self._generator = graph, torch.Generator(self._device)
            torch.cuda.default_generators[self._device.index].graphsafe_set_state(self._generator)
            raise
        return graph.replay


def _begin(mixers: Seeded, optimiser: torch.optim.Optimizer, spec: RunSpec, index: int) -> None:
    # Every step seeds its own stream (dropout and the like), so that a resumed run needs no saved state.
    mixers.begin(spec.seed, f"step {index}")
    rate = learning_rate(index, spec.scale.steps, spec.scale.learning_rate, spec.optimiser)
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _micro_batches(spec: RunSpec, tokens: np.ndarray, index: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and targets [micro_batch_size, T] of each micro-batch of a step, on the CPU."""
    scale = spec.scale
    offsets = batch_offsets(
        spec.seed, index, tokens=len(tokens), sequence_length=scale.sequence_length, batch_size=scale.batch_size
    )
    batches = []
    for part in np.split(offsets, scale.batch_size // scale.micro_batch_size):
        inputs, targets = train_batch(tokens, part, scale.sequence_length)
        batches.append((torch.from_numpy(inputs), torch.from_numpy(targets)))
    return batches


def _losses(model: nn.Module, inputs_BT: torch.Tensor, targets_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy in nats per token, and the auxiliary loss."""
    logits_BTV, auxiliary = model(inputs_BT)
    return F.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten()), auxiliary


def _mean(losses: list[float]) -> float:
    total = 0.0  # not by `sum`, which rounds otherwise from Python 3.12 on
    for loss in losses:
        total += loss / len(losses)
    return total


def _first_line(error: RuntimeError) -> str:
    return f"{str(error).strip() or type(error).__name__}".splitlines()[0][:200]
