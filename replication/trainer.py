"""The trainer: the part of a job that is ours. It runs no line of a candidate, whose mixers other processes host.

It holds the training text, the embedding, the head, the loss, the optimiser and all parameters, and sends logits to
the parent, which scores them. The parent keeps the validation targets. Where the candidate's process trains
(replication/joint.py), the trainer takes the weights from it, and evaluates all the same.
"""

from __future__ import annotations

import ast
import os
import socket
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from kernels.flops import flop_counter
from replication import compat
from replication.evaluate import rows_per_pass
from replication.lift import rewritten
from replication.model import LanguageModel, build_model
from replication.program import names_bfloat16
from replication.record import RunSpec
from replication.remote import RemoteMixers, Seat
from replication.settings import typed
from replication.train import train
from replication.wire import receive, send


def attend(job: socket.socket, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    """Do the job of a frame of kind "train" or "probe"; what else it needs follows as open files."""
    spec = typed(RunSpec, header["spec"], "job.spec")
    torch.set_float32_matmul_precision(spec.scale.matmul_precision)
    seats: list[Seat] = []
    for _ in range(header["seats"]):
        host, memory = _files(job, 2)
        seats.append(Seat(len(seats), socket.socket(fileno=host), memory))
    if header["kind"] == "probe":
        probe(job, spec, header["source"], seats[0])
        return
    Run(job, spec, header["source"]).run(_files(job, 1)[0], arrays, seats, header)


def _files(job: socket.socket, count: int) -> list[int]:
    return socket.recv_fds(job, 1, count)[1]


class Run:
    """Training and evaluation of one candidate."""

    def __init__(self, job: socket.socket, spec: RunSpec, source: str) -> None:
        self._job, self._spec = job, spec
        self._piece = rows_per_pass(spec.scale.sequence_length, spec.corpus.vocab_size)
        rows = max(self._piece, spec.scale.micro_batch_size)
        self._mixers = RemoteMixers(source, spec.scale, spec.seed, rows, spec.device, spec.lift)
        self._source = source
        self._model: LanguageModel

    def run(self, text: int, arrays: list[np.ndarray], seats: list[Seat], header: dict[str, Any]) -> None:
        """Train; send the loss curve, the logits of whole windows, and the honest ones if there are rows for them.

        text: descriptor of the training split.
        arrays: evaluation windows [W, T]; for the honest loss also rows [R, T], scored positions [R], rows of a pass
        [P]; the last checkpoint as bytes, where the header says so.
        """
        checkpoint = arrays.pop().tobytes() if header["resumes"] else None
        spec = self._spec
        self._mixers.open(seats[0])
        self._model = build_model(self._mixers.layers, spec.scale, spec.corpus.vocab_size, spec.seed).to(spec.device)
        notes = _notes(rewritten(self._source, self._mixers.proved), spec.device)
        told = {"parameters": count_parameters(self._model), "notes": notes, "lifted": self._mixers.lifted}
        send(self._job, {"kind": "model", **told})
        send(self._job, {"kind": "trained", "notes": self._train(text, header, checkpoint)})
        state = self._mixers.state()
        self._model.eval()
        windows, *honest = arrays
        with torch.no_grad():
            # Each evaluation has a process of its own, and that of whole windows is gone before another is shown which
            # positions count; what it has seen is too much for the few bits that a clock might carry.
            for seat in seats[1:]:
                self._leave()
                self._mixers.open(seat)
                self._mixers.restore(state)
                self._mixers.begin(spec.seed, "evaluation")
                if seat is seats[1]:
                    self._evaluate(windows)
                else:
                    self._evaluate_honestly(*honest)
        send(self._job, {"kind": "done"})

    def _train(self, text: int, header: dict[str, Any], checkpoint: bytes | None) -> Any:
        """Train here, or have the candidate's process do it; send the loss curve and checkpoints. Returns notes."""

        def emit(first: int, losses: np.ndarray) -> None:
            restored = checkpoint is not None and first == 0
            send(self._job, {"kind": "steps", "first": first, "restored": restored}, losses.astype(np.float32))

        def save(state: bytes) -> None:
            send(self._job, {"kind": "checkpoint"}, np.frombuffer(state, dtype=np.uint8))

        spec, seconds, dtype = self._spec, header["checkpoint_seconds"], header["token_dtype"]
        with os.fdopen(text, "rb") as file:
            if spec.training == "joint":
                return self._mixers.train(self._model, spec, file.fileno(), dtype, emit, save, seconds, checkpoint)
            tokens = np.memmap(file, dtype=dtype, mode="r")
        return train(self._model, self._mixers, spec, tokens, emit, save, seconds, checkpoint)

    def _leave(self) -> None:
        """Give the process in use up, and wait until the parent has ended it."""
        send(self._job, {"kind": "left", "seat": self._mixers.close()})
        receive(self._job)

    def _evaluate(self, windows: np.ndarray) -> None:
        """Send the logits [windows, T, V] of whole windows."""
        for first in range(0, len(windows), self._piece):
            logits = self._logits(windows[first : first + self._piece])
            send(self._job, {"kind": "logits", "first": first}, logits.cpu().numpy())

    def _evaluate_honestly(self, rows: np.ndarray, positions: np.ndarray, passes: np.ndarray) -> None:
        """Send the logits [rows, V] of each row's scored position."""
        for last, size in zip(passes.cumsum().tolist(), passes.tolist(), strict=True):
            part = slice(last - size, last)
            scored = self._logits(rows[part])[torch.arange(size), torch.from_numpy(positions[part].copy())]
            send(self._job, {"kind": "honest", "first": part.start}, scored.cpu().numpy())

    def _logits(self, inputs: np.ndarray) -> torch.Tensor:
        logits: torch.Tensor = self._model(torch.from_numpy(inputs.copy()).to(self._spec.device))[0]
        return logits


def probe(job: socket.socket, spec: RunSpec, source: str, seat: Seat) -> None:
    """Send parameters, FLOPs a step and measured seconds a step of a candidate at a scale, without training it."""
    scale = spec.scale
    mixers = RemoteMixers(source, scale, spec.seed, scale.micro_batch_size, spec.device, spec.lift)
    mixers.open(seat)
    model = build_model(mixers.layers, scale, spec.corpus.vocab_size, spec.seed).to(spec.device)
    generator = torch.Generator().manual_seed(0)

    def step(sequences: int) -> None:
        mixers.begin(spec.seed, "probe")
        tokens = torch.randint(spec.corpus.vocab_size, (sequences, scale.sequence_length + 1), generator=generator)
        tokens = tokens.to(spec.device)
        logits, auxiliary = model(tokens[:, :-1])
        (F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()) + auxiliary).backward()
        model.zero_grad()

    mixers.start_counting()
    with flop_counter(spec.device) as counter:
        step(1)
    flops = (counter.get_total_flops() + mixers.counted()) * scale.batch_size
    began = time.perf_counter()
    step(scale.micro_batch_size)
    if spec.device == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) * scale.batch_size / scale.micro_batch_size
    measured = {"parameters": count_parameters(model), "flops_per_step": flops, "seconds_per_step": seconds}
    send(job, {"kind": "probe", **measured})


def count_parameters(model: nn.Module) -> int:
    """Numbers that training may change, and frozen ones."""
    return sum(parameter.numel() for parameter in model.parameters())


def _notes(source: str, device: str) -> list[str]:
    """What was done to run a program; `source` is the text that runs."""
    notes = [f"fla: {compat.install(device)}"]
    if compat.torch_compile_is_off() and "torch.compile" in source:
        notes.append("torch.compile decorators run eagerly")
    if names_bfloat16(ast.parse(source)):
        notes.append("products of bfloat16 and float32 matrices, which PyTorch refuses, are taken in float32")
    return notes
