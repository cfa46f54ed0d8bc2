"""A program under examination, on the side where its code runs: for worker processes only.

The examiner (`replication/examiner.py`) sees inputs and outputs alone; it never runs a line of the program.
"""

from __future__ import annotations

import contextlib
import gc
import random
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from replication.candidate import build_mixer, mix
from replication.growth import KeptBytes, Work
from replication.hidden import Snapshot, move_parameters, train_ahead, widen
from replication.initialise import keyed_generator, seed_libraries
from replication.precision import NarrowestDtype, in_float64, widened_source
from replication.program import load_mixer_class
from replication.settings import typed
from replication.states import OTHER, SHORT, Mode, ProgramState
from replication.wire import receive, send

CASTS = ("as written", "own", "all")  # widened: none, those in the program's text, those of libraries too
WATCH_LENGTH = 65  # two chunks of the usual sizes, and one token


def attend(job: socket.socket, subject: Subject) -> None:
    """Answer the examiner's calls until it hangs up. The process ends with the first one that fails."""
    gc.freeze()  # what was there before the program is no garbage of its
    while (frame := receive(job)) is not None:
        header, arrays = frame
        told = {name: value for name, value in header.items() if name != "kind"}
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
        self._state: ProgramState
        self._epsilon: dict[str, float] = {}  # by the dtype of parameters and inputs
        self._casts: dict[str, str] = {}  # what is done about the program's own casts: one of CASTS
        self._loaded = ""  # dtype for which the program's module was executed

    def build(self, state: ProgramState) -> dict[str, Any]:
        """Make the program anew in `state`.

        Returns its number of parameters and `epsilon`, the rounding of the coarsest type that it computes in.
        """
        if state.dtype != self._loaded:
            load_mixer_class.cache_clear()  # what a program caches in its module is of one dtype
        self._state, self._loaded = state, state.dtype
        if state.dtype in self._casts:
            self._set_up()
        else:
            self._epsilon[state.dtype] = self._watch()
        return {
            "parameters": sum(parameter.numel() for parameter in self._module.parameters()),
            "epsilon": self._epsilon[state.dtype],
        }

    def _watch(self) -> float:
        """Set the program up, and see the coarsest rounding in both modes and which of its casts float64 must widen."""
        dtype = self._state.dtype
        if dtype == "float32" and "float32" in self._epsilon:
            self._casts[dtype] = CASTS[0]
            self._set_up()
            return self._epsilon[dtype]
        ways = CASTS if dtype == "float64" else CASTS[:1]
        for self._casts[dtype] in ways:
            watch = NarrowestDtype()
            try:
                self._set_up()
                with watch:
                    for mode in OTHER:
                        self.outputs(self._warm_input("watch", 1, WATCH_LENGTH), mode)
            except RuntimeError:  # torch's word for types that do not go together
                if self._casts[dtype] == ways[-1]:
                    raise
            else:
                if dtype == "float64" and self._casts[dtype] == CASTS[0]:  # in float32 it will narrow as much
                    self._epsilon["float32"] = max(watch.epsilon, torch.finfo(torch.float32).eps)
                if watch.epsilon <= torch.finfo(torch.float64).eps:
                    break
        return watch.epsilon

    def outputs(
        self, x: np.ndarray, mode: Mode, *, restore: bool = True, draw: int = 0, grad: bool = False
    ) -> np.ndarray:
        """Outputs [B, T, D] for inputs [B, T, D].

        restore: put hidden state and buffers back first. draw: which stream the random generators are reset to.
        grad: record gradients, as training does.
        """
        with torch.set_grad_enabled(grad):
            return _array(self._forward(torch.from_numpy(x.copy()), mode, restore=restore, draw=draw))

    def gradient(self, x: np.ndarray, weights: np.ndarray, mode: Mode, *, draw: int = 0) -> np.ndarray:
        """Gradient of sum(weights * outputs) with respect to the inputs; arrays [B, T, D]."""
        inputs = torch.from_numpy(x.copy()).to(self._device).requires_grad_()
        output = self._forward(inputs.clone(), mode, restore=True, draw=draw)  # a program may write into its input
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
        work, kept = Work(), KeptBytes()
        with work, torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
            self._forward(x.requires_grad_().clone(), "train", restore=True, draw=0)
        return {"work": work.by_operation, "memory": kept.total}

    def _set_up(self) -> None:
        self._module = self._fresh(self._state.seed)
        state = self._state
        move_parameters(self._module, state.seed, state.move, flip=state.flip, shift=state.shift)
        self._module.to(self._device)
        self._snapshot = Snapshot.take(self._module)
        if self._state.ahead:
            train_ahead(self._module, self._warm_up)
            self._snapshot = Snapshot.take(self._module)

    def _fresh(self, seed: int) -> nn.Module:
        hidden_size, num_heads = self._sizes
        seed_libraries(seed, "construction")
        plain = self._casts[self._state.dtype] == "as written"
        module = build_mixer(
            self._source if plain else widened_source(self._source),
            hidden_size=hidden_size,
            num_heads=num_heads,
            layer_idx=self._state.layer,
        ).to(self._device)
        return widen(module) if self._state.dtype == "float64" else module

    def _forward(self, x: torch.Tensor, mode: Mode, *, restore: bool, draw: int) -> torch.Tensor:
        if restore and self._state.rebuild:
            load_mixer_class.cache_clear()  # a program may keep state in its module, too
            self._set_up()
        elif restore:
            self._snapshot.restore(self._module)
        self._module.train(mode == "train")
        self._reset_generators(draw)
        with self._precision():
            return mix(self._module, x.to(self._device))[0]

    def _reset_generators(self, draw: int) -> None:
        if self._device != "cpu":
            seed_libraries(self._state.seed, f"call {draw}")
            return
        # torch.manual_seed takes a millisecond to ask for other devices, as long as a small call
        value = (self._state.seed * 1_000_003 + draw) % 2**32
        torch.default_generator.manual_seed(value)
        np.random.seed(value)  # noqa: NPY002 - the generator that programs call without a seed of their own
        random.seed(value)

    @contextlib.contextmanager
    def _precision(self) -> Iterator[None]:
        default = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, self._state.dtype))
        try:
            with in_float64() if self._casts[self._state.dtype] == "all" else contextlib.nullcontext():
                yield
        finally:
            torch.set_default_dtype(default)

    def _warm_input(self, key: str, rows: int, length: int) -> np.ndarray:
        shape = (rows, length, self._sizes[0])
        return keyed_generator(self._state.seed, key).standard_normal(shape).astype(self._state.dtype)

    def _warm_up(self, call: int) -> None:
        self.outputs(self._warm_input(f"warm {call}", 1, SHORT), "train", restore=False)


def _array(tensor: torch.Tensor) -> np.ndarray:
    """float64 stays, everything else becomes float32, which holds all narrower values exactly."""
    array: np.ndarray = (
        tensor.detach()
        .to("cpu", tensor.dtype if tensor.dtype == torch.float64 else torch.float32)
        .resolve_conj()
        .resolve_neg()
        .numpy()
    )
    return array
