"""The token mixers of a model, and the process that hosts them: the only one in which a candidate's code runs.

It is handed activations and gradients and hands back the same. It never holds tokens, targets, the loss, the
optimiser or any other part of the model (replication/remote.py is the other side), unless it is asked to train the
whole model (replication/joint.py); the process of an evaluation never is.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kernels.flops import flop_counter
from replication.candidate import build_mixer, mix, python_state, restore_python_state
from replication.exchange import Form, SharedMemory, State, copy_all
from replication.initialise import construct, seed_libraries
from replication.joint import train_here
from replication.lift import lift, rewritten
from replication.record import Scale
from replication.wire import receive, send


class Mixers(nn.Module):
    """The mixers of all layers, under the names that they have in the whole model."""

    def __init__(self, source: str, scale: Scale) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "mixer": build_mixer(
                        source, hidden_size=scale.hidden_size, num_heads=scale.num_heads, layer_idx=layer
                    )
                }
            )
            for layer in range(scale.num_layers)
        )

    def layers(self) -> Iterator[nn.Module]:
        """The candidate's module of each layer."""
        for block in self.blocks:
            assert isinstance(block, nn.ModuleDict)
            yield block["mixer"]

    @staticmethod
    def begin(seed: int, key: str) -> None:
        """Seed what a program may draw from."""
        seed_libraries(seed, key)

    def state(self) -> State:
        """Everything besides the parameters that a call may depend on, as far as it hangs on the modules."""
        return State.pack({**self._buffers_by_place(), **python_state(self)})

    def restore(self, state: State) -> None:
        """Put back what `state` returned, here or in another process. Raises ValueError where it does not fit."""
        present, rest = self._buffers_by_place(), {}
        with torch.no_grad():
            for place, value in state.unpack().items():
                buffer = present.get(place)
                if buffer is not None and isinstance(value, torch.Tensor) and Form.of(buffer) == Form.of(value):
                    buffer.copy_(value)  # in place: buffers may share memory
                else:
                    rest[place] = value
        restore_python_state(self, rest)

    def _buffers_by_place(self) -> dict[str, torch.Tensor]:
        named = self.named_buffers(remove_duplicate=False)
        return {":".join(name.rsplit(".", 1)): buffer for name, buffer in named}


def lifted(source: str, scale: Scale, proved: Sequence[str] | None) -> tuple[str, dict[str, str]]:
    """The text that runs in place of a program, and what became of each part (`lift.Lifted.parts`).

    proved: parts that an earlier process of the same run proved; nothing is proved again. None: none has yet.
    """
    if proved is not None:
        return rewritten(source, proved), {}
    found = lift(source, scale.hidden_size, scale.num_heads)
    return found.source, found.parts


def build_mixers(source: str, scale: Scale, seed: int) -> Mixers:
    """Mixers with initial values keyed by (seed, name): those that they would have in the whole model."""
    mixers = construct(lambda: Mixers(source, scale), seed)
    assert isinstance(mixers, Mixers)
    return mixers


@dataclass
class _Call:
    """What a backward pass needs of a forward pass."""

    layer: int
    inputs: torch.Tensor
    outputs: torch.Tensor
    auxiliary: torch.Tensor | None


class Host:
    """Answers a trainer's calls, one method each; what they return is sent back."""

    def __init__(self, mixers: Mixers, descriptor: int, activations: int, device: str) -> None:
        self.mixers, self._device = mixers.to(device), device
        self._layers = list(mixers.layers())
        self._parameters = list(mixers.parameters())
        places = {id(parameter): place for place, parameter in enumerate(self._parameters)}
        self._of_layer = [[places[id(p)] for p in nn.Module.parameters(layer)] for layer in self._layers]
        forms = [Form.of(parameter) for parameter in self._parameters]
        self._memory = SharedMemory(descriptor, activations, forms)
        copy_all(self._memory.parameters, self._parameters)
        self.told = {
            "parameters": [form.told for form in forms],
            "trained": [parameter.requires_grad for parameter in self._parameters],
            "layers": self._of_layer,
        }
        self._calls: dict[int, _Call] = {}
        self._counter: FlopCounterMode | None = None

    def begin(self, seed: int, key: str) -> None:
        """Take the parameters' values from the shared memory, forget earlier calls, seed the generators."""
        copy_all(self._parameters, self._memory.parameters)
        self._calls.clear()
        self.mixers.begin(seed, key)

    def forward(self, layer: int, call: int, shape: list[int], training: bool, grad: bool) -> dict[str, Any]:
        """One mixer on the activations in memory; outputs go there, the auxiliary loss is returned."""
        form = Form((shape[0], shape[1], shape[2]), torch.float32)
        module = self._layers[layer].train(training)
        inputs = self._memory.inward(form).to(self._device, copy=True).requires_grad_(grad)
        with torch.set_grad_enabled(grad):
            outputs, auxiliary = mix(module, inputs.clone() if grad else inputs)  # a program may write into its input
            outputs = outputs.to(torch.float32)
        self._memory.outward(form).copy_(outputs.detach())
        if grad:
            self._calls[call] = _Call(layer, inputs, outputs, auxiliary)
        return {"auxiliary": None if auxiliary is None else float(auxiliary)}

    def backward(self, call: int, auxiliary: float) -> dict[str, Any]:
        """The backward pass of a call; returns which gradients there are, of the inputs first."""
        done = self._calls.pop(call)
        form = Form.of(done.inputs)
        ends = [(done.outputs, self._memory.inward(form).to(self._device, copy=True))]
        if done.auxiliary is not None:
            ends.append((done.auxiliary, torch.full_like(done.auxiliary, auxiliary)))
        ends = [(tensor, gradient) for tensor, gradient in ends if tensor.requires_grad]
        places = [place for place in self._of_layer[done.layer] if self._parameters[place].requires_grad]
        wanted = [done.inputs, *(self._parameters[place] for place in places)]
        found: Sequence[torch.Tensor | None] = [None] * len(wanted)
        if ends:
            found = torch.autograd.grad([t for t, _ in ends], wanted, [g for _, g in ends], allow_unused=True)
        targets = [self._memory.outward(form), *(self._memory.gradients[place] for place in places)]
        there = [(target, gradient) for target, gradient in zip(targets, found, strict=True) if gradient is not None]
        copy_all([target for target, _ in there], [gradient for _, gradient in there])
        return {"present": [gradient is not None for gradient in found]}

    def state(self) -> State:
        """As Mixers.state."""
        return self.mixers.state()

    def restore(self, *arrays: np.ndarray, **told: Any) -> dict[str, Any]:
        """As Mixers.restore."""
        self.mixers.restore(State.from_told(told, arrays))
        return {}

    def count(self, on: bool) -> dict[str, Any]:
        """Start counting floating-point operations, or stop and return them."""
        if on:
            self._counter = flop_counter(self._device)
            self._counter.__enter__()
            return {}
        assert self._counter is not None
        self._counter.__exit__(None, None, None)
        return {"flops": self._counter.get_total_flops()}


def attend(job: socket.socket, memory: int, device: str) -> None:
    """Host the program that the first frame brings, until the trainer hangs up."""
    frame = receive(job)
    if frame is None:
        return
    header, _ = frame
    scale, source = Scale(**header["scale"]), header["source"]
    parts: dict[str, str] = {}
    if header["lift"]:
        source, parts = lifted(source, scale, header["proved"])
    host = Host(build_mixers(source, scale, header["seed"]), memory, header["activations"], device)
    send(job, {"kind": "built", "lifted": parts, **host.told})
    with contextlib.suppress(ConnectionError):  # the trainer is gone: nobody waits for this answer
        while (frame := receive(job)) is not None:
            told, arrays = frame
            kind = told.pop("kind")
            if kind == "train":
                train_here(job, host.mixers, device, told, arrays)
                continue
            answer = getattr(host, kind)(*arrays, **told)
            if isinstance(answer, State):
                send(job, {"kind": kind, **answer.told}, *answer.data)
            elif answer is not None:
                send(job, {"kind": kind, **answer})
