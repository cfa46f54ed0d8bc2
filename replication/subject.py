"""A program under examination, on the side where its code runs: for worker processes only.

The examiner (`replication/causality.py`) sees inputs and outputs alone; it never runs a line of the program.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from replication.candidate import StateValue, build_mixer, mix, python_state, restore_python_state
from replication.initialise import keyed_generator, seed_libraries
from replication.precision import NarrowestDtype, in_float64
from replication.program import load_mixer_class
from replication.settings import typed
from replication.states import Mode, ProgramState
from replication.wire import receive, send

CALLS_AHEAD = 100_000  # how far counters of calls are put forward
WARM_LENGTH = 33


def attend(job: socket.socket, subject: Subject) -> None:
    """Answer the examiner's calls until it hangs up. The process ends with the first one that fails."""
    while (frame := receive(job)) is not None:
        header, arrays = frame
        told = {name: value for name, value in header.items() if name not in ("kind", "memory_bytes")}
        if header["kind"] == "build":
            told = {"state": typed(ProgramState, told, "state")}
        answer = getattr(subject, header["kind"])(*arrays, **told)
        if isinstance(answer, np.ndarray):
            send(job, {"kind": "outputs"}, answer)
        else:
            send(job, {"kind": "told", **answer})


class Subject:
    """One program, set up by `build` and then called.

    Arrays are float64 or float32 as the state's dtype asks. Whatever the program raises passes through.
    """

    def __init__(self, source: str, hidden_size: int, num_heads: int, device: str) -> None:
        self._source, self._sizes, self._device = source, (hidden_size, num_heads), device
        self._module: nn.Module
        self._narrowest: dict[str, torch.dtype | None] = {}
        self._widen = False

    def build(self, state: ProgramState) -> dict[str, Any]:
        """Make the program anew in `state`. Returns its number of parameters and the narrowest dtype it computes in."""
        self._state = state
        self._set_up()
        if state.dtype not in self._narrowest:
            self._narrowest[state.dtype] = self._watch()
        return {
            "parameters": sum(parameter.numel() for parameter in self._module.parameters()),
            "dtype": str(self._narrowest[state.dtype]).removeprefix("torch."),
        }

    def _watch(self) -> torch.dtype | None:
        """The narrowest dtype; in float64, finds out whether the program's own casts have to be widened for it."""
        widths = (False, True) if self._state.dtype == "float64" else (False,)
        for self._widen in widths:
            watch = NarrowestDtype()
            try:
                with watch:
                    self.outputs(self._warm_input(0), "eval")
            except RuntimeError:  # torch's word for types that do not go together
                if self._widen == widths[-1]:
                    raise
            else:
                if watch.dtype == torch.float64:
                    break
        self._snapshot.restore(self._module)
        return watch.dtype

    def outputs(self, x: np.ndarray, mode: Mode, *, restore: bool = True, draw: int = 0) -> np.ndarray:
        """Outputs [B, T, D] for inputs [B, T, D].

        restore: put hidden state and buffers back first. draw: which stream the random generators are reset to.
        """
        with torch.no_grad():
            return _array(self._forward(torch.from_numpy(x.copy()), mode, restore=restore, draw=draw))

    def gradient(self, x: np.ndarray, weights: np.ndarray, mode: Mode, *, draw: int = 0) -> np.ndarray:
        """Gradient of sum(weights * outputs) with respect to the inputs; arrays [B, T, D]."""
        inputs = torch.from_numpy(x.copy()).to(self._device).requires_grad_()
        output = self._forward(inputs, mode, restore=True, draw=draw)
        if not output.requires_grad:
            return np.zeros_like(x)
        (found,) = torch.autograd.grad(
            output, inputs, torch.from_numpy(weights.copy()).to(output), allow_unused=True, materialize_grads=True
        )
        return _array(found)

    def reloaded(self, x: np.ndarray) -> np.ndarray:
        """Outputs in eval mode of a fresh program that was given this one's state_dict, as after a restart."""
        fresh = self._fresh(self._state.seed + 1)
        fresh.load_state_dict(self._module.state_dict())
        kept, self._module = self._module, fresh.to(self._device)
        try:
            with torch.no_grad():
                return _array(self._forward(torch.from_numpy(x.copy()), "eval", restore=False, draw=0))
        finally:
            self._module = kept

    def growth(self, length: int) -> dict[str, Any]:
        """What one training call on a sequence of `length` costs, counted and not timed.

        Returns work by operation (floating-point operations of matrix products, convolutions and attention; elements
        written by all others) and the bytes kept for the backward pass.
        """
        generator = keyed_generator(self._state.seed, f"cost {length}")
        x = torch.from_numpy(generator.standard_normal((1, length, self._sizes[0])).astype(self._state.dtype))
        work, kept = _Work(), _KeptBytes()
        with work, torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
            self._forward(x.requires_grad_(), "train", restore=True, draw=0)
        return {"work": work.by_operation, "memory": kept.total}

    def _set_up(self) -> None:
        self._module = self._fresh(self._state.seed)
        _move(self._module, self._state)
        self._module.to(self._device)
        self._snapshot = _Snapshot.take(self._module)
        if self._state.ahead:
            self._put_counters_ahead()

    def _fresh(self, seed: int) -> nn.Module:
        hidden_size, num_heads = self._sizes

        seed_libraries(seed, "construction")
        module = build_mixer(
            self._source, hidden_size=hidden_size, num_heads=num_heads, layer_idx=self._state.layer
        ).to(self._device)
        return module.double() if self._state.dtype == "float64" else module

    def _forward(self, x: torch.Tensor, mode: Mode, *, restore: bool, draw: int) -> torch.Tensor:
        if restore and self._state.rebuild:
            load_mixer_class.cache_clear()  # a program may keep state in its module, too
            self._set_up()
        elif restore:
            self._snapshot.restore(self._module)
        self._module.train(mode == "train")
        seed_libraries(self._state.seed, f"call {draw}")
        with self._precision():
            return mix(self._module, x.to(self._device))[0]

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        default = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, self._state.dtype))
        try:
            with in_float64() if self._widen and self._state.dtype == "float64" else contextlib.nullcontext():
                yield
        finally:
            torch.set_default_dtype(default)

    def _warm_input(self, call: int) -> np.ndarray:
        shape = (2, WARM_LENGTH, self._sizes[0])
        return keyed_generator(self._state.seed, f"warm {call}").standard_normal(shape).astype(self._state.dtype)

    def _put_counters_ahead(self) -> None:
        """Numbers that change by the same amount in each training call are counters; move those far on."""
        seen = [_numbers(self._module)]
        for call in range(3):
            self.outputs(self._warm_input(call), "train", restore=False)
            seen.append(_numbers(self._module))
        self._snapshot.restore(self._module)
        for name, first in seen[0].items():
            steps = {later.get(name, first) - earlier.get(name, first) for earlier, later in pairwise(seen)}
            if len(steps) == 1 and steps != {0}:
                _put(self._module, name, first + CALLS_AHEAD * steps.pop())
        self._snapshot = _Snapshot.take(self._module)


@dataclass(frozen=True)
class _Snapshot:
    """Buffers and hidden state of a module: what a call may change."""

    buffers: dict[str, torch.Tensor]
    hidden: dict[str, StateValue]

    @classmethod
    def take(cls, module: nn.Module) -> _Snapshot:
        buffers = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
        return cls(buffers=buffers, hidden=python_state(module))

    def restore(self, module: nn.Module) -> None:
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                if name in self.buffers and buffer.shape == self.buffers[name].shape:
                    buffer.copy_(self.buffers[name])
        restore_python_state(module, self.hidden)
        for name in python_state(module).keys() - self.hidden.keys():  # made since
            path, _, attribute = name.rpartition(":")
            vars(module.get_submodule(path)).pop(attribute, None)


def _move(module: nn.Module, state: ProgramState) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not parameter.is_floating_point() or parameter.numel() == 0:
                continue
            if state.flip and parameter.ndim < 2:
                parameter.neg_()
            floor = 0.3 if parameter.ndim < 2 else 0.3 / (parameter[0].numel() ** 0.5)
            size = max(float(parameter.square().mean().sqrt()), floor)
            noise = keyed_generator(state.seed, f"move {name}").standard_normal(tuple(parameter.shape))
            parameter.add_(torch.from_numpy(np.asarray(noise)).to(parameter), alpha=state.move * size)
            if parameter.ndim < 2:
                parameter.add_(state.shift)


def _numbers(module: nn.Module) -> dict[str, float]:
    """Single numbers among hidden state and buffers, by name."""
    values: dict[str, Any] = {f"hidden {name}": value for name, value in python_state(module).items()}
    values |= {f"buffer {name}": buffer for name, buffer in module.named_buffers()}
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, torch.Tensor) and value.numel() == 1 and value.dtype != torch.bool:
            found[name] = float(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = value
    return found


def _put(module: nn.Module, name: str, value: float) -> None:
    kind, _, path = name.partition(" ")
    if kind == "buffer":
        with torch.no_grad():
            dict(module.named_buffers())[path].fill_(value)
        return
    present = python_state(module)[path]
    if isinstance(present, torch.Tensor):
        restore_python_state(module, {path: torch.full_like(present, value)})
    else:
        restore_python_state(module, {path: type(present)(value) if isinstance(present, int | float) else value})


def _array(tensor: torch.Tensor) -> np.ndarray:
    """float64 stays, everything else becomes float32, which holds all narrower values exactly."""
    array: np.ndarray = (
        tensor.detach().to("cpu", tensor.dtype if tensor.dtype == torch.float64 else torch.float32).numpy()
    )
    return array


class _Work(TorchDispatchMode):
    """Counts what each operation does: the library's FLOP formula where it has one, else elements written."""

    def __init__(self) -> None:
        super().__init__()
        self.by_operation: dict[str, float] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        packet = func.overloadpacket
        if packet in flop_registry:
            work = float(flop_registry[packet](*args, **kwargs, out_val=result))
        elif func.is_view:
            return result
        else:
            work = float(sum(t.numel() for t in tree_leaves(result) if isinstance(t, torch.Tensor)))
        name = str(packet)
        self.by_operation[name] = self.by_operation.get(name, 0.0) + work
        return result


class _KeptBytes:
    """Bytes of the distinct tensors that the backward pass would need."""

    def __init__(self) -> None:
        self.total = 0
        self._seen: dict[tuple[int, int], torch.Tensor] = {}  # kept alive: an address must not be used twice

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        key = (storage.data_ptr(), storage.nbytes())
        if key not in self._seen:
            self._seen[key] = tensor
            self.total += storage.nbytes()
        return tensor
