"""Training in one process: the candidate's own trains the whole model, and hands back what came of it.

Through two processes, every call of a mixer moves activations through memory that they share, which on a GPU costs
several times the step itself. Here the process that hosts the program holds the training text, the loss and the
optimiser as well. The numbers are those of training apart, as long as the program leaves the rest alone and writes
into none of its parameters. Nothing that is used in scoring comes here.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from replication.exchange import ExchangeError, Form, from_bytes, to_bytes
from replication.model import build_model
from replication.record import RunSpec
from replication.settings import typed
from replication.train import train
from replication.wire import send

if TYPE_CHECKING:
    from replication.mixers import Mixers

KINDS = ("steps", "checkpoint", "weights", "trained")  # of the frames that come back
STATUSES = ("diverged", "bad_checkpoint")  # what a process that trains may say of itself besides


def train_here(job: socket.socket, mixers: Mixers, device: str, told: dict[str, Any], arrays: list[np.ndarray]) -> None:
    """Train the whole model around `mixers`, as a frame of kind "train" asks; the text follows as an open file.

    Sends the loss curve and checkpoints on the way, then each parameter, and what is to be noted. What ends the
    training early passes through.
    """
    spec = typed(RunSpec, told["spec"], "train.spec")
    (text,) = socket.recv_fds(job, 1, 1)[1]
    with os.fdopen(text, "rb") as file:
        tokens = np.memmap(file, dtype=told["token_dtype"], mode="r")
    model = build_model(list(mixers.layers()), spec.scale, spec.corpus.vocab_size, spec.seed).to(device)
    parameters = list(model.parameters())

    def emit(first: int, losses: np.ndarray) -> None:
        send(job, {"kind": "steps", "first": first}, losses.astype(np.float32))

    def save(state: bytes) -> None:
        send(job, {"kind": "checkpoint"}, np.frombuffer(state, dtype=np.uint8))

    checkpoint = arrays[0].tobytes() if arrays else None
    notes = train(model, mixers, spec, tokens, emit, save, told["checkpoint_seconds"], checkpoint)
    for place, parameter in enumerate(parameters):
        send(job, {"kind": "weights", "place": place}, to_bytes(parameter))
    send(job, {"kind": "trained", "notes": list(notes)})


class Trained:
    """What such a process sends, on the side that does not trust it: every frame is checked, and passed on or kept.

    Attributes:
        complete: whether the training has ended and all weights are there.
        notes: what it said of how it trained, as it came.

    Args:
        model: takes the weights.
        steps: of the whole training.
        emit, save: as for `train.train`.
        checkpoint_seconds: a process that sends checkpoints at more than twice that pace has some of them left out.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: int,
        emit: Callable[[int, np.ndarray], None],
        save: Callable[[bytes], None],
        checkpoint_seconds: float,
    ) -> None:
        self._parameters = list(model.parameters())
        self._steps, self._emit, self._save, self._pause = steps, emit, save, checkpoint_seconds / 2
        self._done, self._given, self._saved = 0, 0, time.monotonic()
        self.complete = False
        self.notes: Any = None

    def take(self, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
        """Accept one frame of KINDS. Raises ExchangeError where it is not what comes next."""
        kind = header["kind"]
        if len(arrays) != (kind != "trained"):
            raise ExchangeError("another number of arrays")
        if kind == "trained":
            if self._given != len(self._parameters):
                raise ExchangeError("an end without all weights")
            self.complete, self.notes = True, header.get("notes")
            return
        array = arrays[0]
        if kind == "steps":
            self._take_steps(header.get("first"), array)
        elif kind == "checkpoint":
            self._take_checkpoint(array)
        else:
            self._take_weights(header.get("place"), array)

    def _take_steps(self, first: object, losses: np.ndarray) -> None:
        if first != self._done or losses.ndim != 1 or self._done + len(losses) > self._steps:
            raise ExchangeError("loss curve out of order")
        if losses.dtype != np.float32 or not np.isfinite(losses).all():
            raise ExchangeError("loss curve with other values than finite float32")
        self._emit(self._done, losses)
        self._done += len(losses)

    def _take_checkpoint(self, state: np.ndarray) -> None:
        if state.dtype != np.uint8 or self._given:
            raise ExchangeError("a checkpoint of another form, or after the weights")
        now = time.monotonic()
        if now - self._saved >= self._pause:
            self._save(state.tobytes())
            self._saved = now

    def _take_weights(self, place: object, data: np.ndarray) -> None:
        if place != self._given or self._given == len(self._parameters) or self._done != self._steps:
            raise ExchangeError("weights out of order")
        parameter = self._parameters[self._given]
        with torch.no_grad():
            parameter.copy_(from_bytes(Form.of(parameter), data))
        self._given += 1
