"""A trainer's side of the mixers: modules whose calls another process answers (replication/mixers.py).

Nothing that comes from there is trusted but for what it is, numbers: shapes are computed here, and values are copied
out of the shared memory before they are used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from replication import joint
from replication.exchange import ExchangeError, Form, SharedMemory, State, copy_all
from replication.lift import LIFTED, PARTS
from replication.record import RunSpec, Scale
from replication.wire import WireError, receive, send

MIXER_STATUSES = ("crashed", "out_of_memory")  # what a mixer process may say of itself


class MixerFailed(Exception):
    """The candidate's process failed in a way that it could still tell: `status` and one line, perhaps the step."""

    def __init__(self, status: str, error: str, step: int | None = None) -> None:
        super().__init__(error)
        self.status, self.step = status, step


class MixerGone(Exception):
    """The candidate's process in `seat` ended, or answered with what is no answer; `error` says what, if anything."""

    def __init__(self, seat: int, error: str = "") -> None:
        super().__init__(error)
        self.seat, self.error = seat, error


@dataclass(frozen=True)
class Seat:
    """Where a mixer process waits: its number, its socket, and the file of the shared memory."""

    number: int
    job: socket.socket
    memory: int  # file descriptor


class RemoteMixer(nn.Module):
    """The mixer of one layer. Its parameters live here, in the trainer; the process gets their values."""

    def __init__(self, mixers: RemoteMixers, layer: int, parameters: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self._mixers, self._layer = [mixers], layer  # in a list: it is no submodule
        for place, parameter in enumerate(parameters):
            self.register_parameter(f"p{place}", parameter)

    def forward(self, x_BTD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """[B, T, D] -> [B, T, D], and the auxiliary loss, if there is one."""
        if not torch.is_grad_enabled():
            return self._mixers[0].forward(self._layer, x_BTD, self.training)[1:]
        output, auxiliary = _Mix.apply(self._mixers[0], self._layer, self.training, x_BTD, *self.parameters())
        return output, auxiliary


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mixers: RemoteMixers, layer: int, training: bool, x: torch.Tensor, *_: nn.Parameter) -> Any:
        ctx.mixers, ctx.layer = mixers, layer
        ctx.call, output, auxiliary = mixers.forward(layer, x, training, grad=True)
        return output, auxiliary

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        output, auxiliary = gradients
        found = ctx.mixers.backward(ctx.layer, ctx.call, output, 0.0 if auxiliary is None else float(auxiliary))
        return None, None, None, *found


class RemoteMixers:
    """The mixers of a candidate at a scale, one process at a time.

    Attributes:
        lifted: what the first process says became of each part of the program, unchecked; empty without `lift`.
        proved: the parts that are lifted, as it says; later processes lift the same.

    Args:
        source: the candidate's text.
        rows: most rows of a forward pass.
        lift: whether parts of it are to be lifted.

    Every method raises MixerFailed or MixerGone where the process does not do its part.
    """

    def __init__(self, source: str, scale: Scale, seed: int, rows: int, device: str, lift: bool) -> None:
        self._build = {"source": source, "scale": dataclasses.asdict(scale), "seed": seed, "lift": lift}
        self._num_layers = scale.num_layers
        self._row = Form((scale.sequence_length, scale.hidden_size), torch.float32)
        self._activations = rows * self._row.bytes
        self._device = device
        self._seat: Seat
        self._memory: SharedMemory
        self._told: dict[str, Any] | None = None
        self.lifted: Any
        self.proved: list[str]
        self._calls = 0
        self.layers: list[RemoteMixer] = []
        self._parameters: list[nn.Parameter] = []

    def open(self, seat: Seat) -> None:
        """Have the process at `seat` build the mixers; the first one also gives the parameters' initial values.

        A later process must build parameters of the same form, and gets their values.
        """
        self._seat = seat
        proved = None if self._told is None else self.proved
        self._send({"kind": "build", **self._build, "proved": proved, "activations": self._activations})
        header, _ = self._receive("built")
        told = {key: header.get(key) for key in ("parameters", "trained", "layers")}
        if self._told is None:
            self.lifted = parts = header.get("lifted") if self._build["lift"] else {}
            self.proved = [part for part in PARTS if isinstance(parts, dict) and parts.get(part) == LIFTED]
            self._take_parameters(told)
        elif told != self._told:
            raise MixerFailed("crashed", "the program has other parameters each time it is built")
        self._memory = SharedMemory(seat.memory, self._activations, self._forms)
        if self._told is None:
            copy_all(self._parameters, self._memory.parameters)
            self._told = told

    def begin(self, seed: int, key: str) -> None:
        """Hand over the parameters' values; the process seeds its generators by (seed, key)."""
        copy_all(self._memory.parameters, self._parameters)
        self._send({"kind": "begin", "seed": seed, "key": key})

    def forward(
        self, layer: int, x: torch.Tensor, training: bool, grad: bool = False
    ) -> tuple[int, torch.Tensor, torch.Tensor | None]:
        """One call: its number, the outputs, and the auxiliary loss as a float32 scalar."""
        self._calls += 1
        form = Form.of(x)
        assert form.bytes <= self._activations
        self._memory.inward(form).copy_(x.detach())
        asked = {"layer": layer, "call": self._calls, "shape": list(form.shape), "training": training, "grad": grad}
        header, _ = self._ask("forward", asked)
        output = self._memory.outward(form).to(self._device, copy=True)
        auxiliary = header.get("auxiliary")
        if auxiliary is None:
            return self._calls, output, None
        if type(auxiliary) is not float:
            raise self._gone("an auxiliary loss that is no number")
        return self._calls, output, torch.tensor(auxiliary, dtype=torch.float32, device=self._device)

    def backward(self, layer: int, call: int, output: torch.Tensor, auxiliary: float) -> list[torch.Tensor | None]:
        """Gradients of a call's inputs and of its layer's parameters; None where there is none."""
        form = Form.of(output)
        self._memory.inward(form).copy_(output)
        header, _ = self._ask("backward", {"call": call, "auxiliary": auxiliary})
        places = self._places[layer]
        trained = [place for place in places if self._parameters[place].requires_grad]
        present = header.get("present")
        if not isinstance(present, list) or len(present) != 1 + len(trained):
            raise self._gone("gradients of another number of parameters")
        there = dict(zip(trained, present[1:], strict=True))
        gradients = [
            self._memory.gradients[place].to(self._device, copy=True) if there.get(place) else None for place in places
        ]
        return [self._memory.outward(form).to(self._device, copy=True) if present[0] else None, *gradients]

    def state(self) -> State:
        """What calls depend on besides the parameters; opaque here, for `restore`."""
        header, arrays = self._ask("state", {})
        try:
            return State.from_told(header, arrays)
        except ExchangeError as error:
            raise self._gone(str(error)) from error

    def restore(self, state: State) -> None:
        """Put back what `state` returned in an earlier process."""
        self._send({"kind": "restore", **state.told}, *state.data)
        self._receive("restore")

    def train(
        self,
        model: nn.Module,
        spec: RunSpec,
        text: int,
        token_dtype: str,
        emit: Callable[[int, np.ndarray], None],
        save: Callable[[bytes], None],
        checkpoint_seconds: float,
        checkpoint: bytes | None,
    ) -> Any:
        """Have the process train the whole model (replication/joint.py), and take over the weights into `model`.

        Returns what the process says of how it trained, unchecked.

        Args:
            model: the one around these mixers.
            text: descriptor of the training split, whose token ids are of `token_dtype`.
            emit, save, checkpoint_seconds, checkpoint: as for `train.train`.
        """
        asked = {"spec": dataclasses.asdict(spec), "token_dtype": token_dtype, "checkpoint_seconds": checkpoint_seconds}
        given = [] if checkpoint is None else [np.frombuffer(checkpoint, dtype=np.uint8)]
        self._send({"kind": "train", **asked}, *given)
        with contextlib.suppress(ConnectionError):  # what it said before it ended is read below
            socket.send_fds(self._seat.job, [b"f"], [text])
        trained = joint.Trained(model, spec.scale.steps, emit, save, checkpoint_seconds)
        while not trained.complete:
            frame = self._receive(*joint.KINDS, statuses=(*MIXER_STATUSES, *joint.STATUSES))
            try:
                trained.take(*frame)
            except ExchangeError as error:
                raise self._gone(str(error)) from error
        return trained.notes

    def start_counting(self) -> None:
        """Count floating-point operations of the process from here on."""
        self._ask("count", {"on": True})

    def counted(self) -> float:
        """The operations since `start_counting`, as the process says."""
        flops = self._ask("count", {"on": False})[0].get("flops")
        if not isinstance(flops, int | float) or not 0 <= flops < 1e300:
            raise self._gone("a count that is no number")
        return float(flops)

    def close(self) -> int:
        """Hang up, the process has nothing more to do; returns the number of its seat."""
        self._seat.job.close()
        return self._seat.number

    def _gone(self, error: str = "") -> MixerGone:
        return MixerGone(self._seat.number, error)

    def _take_parameters(self, told: dict[str, Any]) -> None:
        try:
            self._forms = [Form.from_told(form) for form in told["parameters"]]
            trained, self._places = [bool(flag) for flag in told["trained"]], [list(p) for p in told["layers"]]
        except (ExchangeError, TypeError) as error:
            raise self._gone("malformed parameters") from error
        known = range(len(self._forms))
        sound = len(trained) == len(self._forms) and len(self._places) == self._num_layers
        if not sound or any(type(place) is not int or place not in known for p in self._places for place in p):
            raise self._gone("malformed parameters")
        self._parameters = [
            nn.Parameter(torch.empty(form.shape, dtype=form.dtype, device=self._device), requires_grad=flag)
            for form, flag in zip(self._forms, trained, strict=True)
        ]
        self.layers = [
            RemoteMixer(self, layer, [self._parameters[place] for place in places])
            for layer, places in enumerate(self._places)
        ]

    def _ask(self, kind: str, asked: dict[str, Any]) -> tuple[dict[str, Any], list[np.ndarray]]:
        self._send({"kind": kind, **asked})
        return self._receive(kind)

    def _send(self, header: dict[str, Any], *arrays: np.ndarray) -> None:
        try:
            send(self._seat.job, header, *arrays)
        except ConnectionError:
            self._receive("nothing more")

    def _receive(
        self, *kinds: str, statuses: Sequence[str] = MIXER_STATUSES
    ) -> tuple[dict[str, Any], list[np.ndarray]]:
        try:
            frame = receive(self._seat.job)
        except WireError as error:
            raise self._gone(str(error)) from error
        except ConnectionError as error:
            raise self._gone() from error
        if frame is None:
            raise self._gone()
        header, arrays = frame
        if header["kind"] == "failed":
            status, text, step = header.get("status"), header.get("error"), header.get("step")
            if not isinstance(status, str) or status not in statuses or not isinstance(text, str):
                raise self._gone("malformed failure")
            raise MixerFailed(status, text, step if type(step) is int and 0 < step < 2**63 else None)
        if header["kind"] not in kinds:
            raise self._gone(f"unexpected frame {str(header['kind'])[:40]!r}")
        return header, arrays
