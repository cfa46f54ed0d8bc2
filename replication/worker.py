"""The worker: the only kind of process that imports and runs candidate code.

`python -m replication.worker FD` starts a warm process that has PyTorch loaded and forks one child a job, so that a
job starts in milliseconds. A job comes over its own socket (replication/wire.py) and is answered there; an exception
that nothing catches is answered by the child's excepthook. Full confinement belongs between fork and `answer`.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from replication import compat
from replication.candidate import python_state, restore_python_state
from replication.evaluate import rows_per_pass
from replication.initialise import seed_libraries
from replication.model import build_model
from replication.program import SOURCE_NAME, CandidateError
from replication.record import RunSpec
from replication.settings import typed
from replication.subject import Subject, attend
from replication.train import CheckpointError, Diverged, train
from replication.wire import CONTROL, receive, send

_PR_SET_PDEATHSIG = 1


def serve(control: socket.socket) -> None:
    """Fork one child for each job socket that arrives on `control`; report its pid, then how it ended."""
    _die_with_parent()
    torch.set_num_threads(1)  # no thread pool may exist when a child is forked
    torch.use_deterministic_algorithms(True, warn_only=True)  # imports the compiler: here, or a second in every job
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            return
        job = socket.socket(fileno=descriptors[0])
        pid = os.fork()
        if pid == 0:
            control.close()
            os.setsid()
            _die_with_parent()
            try:
                answer(job)
            except SystemExit as error:  # ends an interpreter without a word to its excepthook
                _report(job, error)
            os._exit(0)
        job.close()
        control.sendall(CONTROL.pack(pid, 0, 0))
        _, status, usage = os.wait4(pid, 0)
        control.sendall(CONTROL.pack(pid, status, usage.ru_maxrss * 1024))


def answer(job: socket.socket) -> None:
    """Receive one job and answer it. Runs in the forked child, which ends afterwards."""
    frame = receive(job)
    assert frame is not None
    header, arrays = frame
    sys.excepthook = lambda _kind, error, _trace: _report(job, error)
    _prepare_process(header)
    if header["kind"] == "examine":
        compat.install(header["spec"]["device"])
        attend(job, Subject(header["source"], header["hidden_size"], header["num_heads"], header["spec"]["device"]))
        return
    spec = typed(RunSpec, header["spec"], "job.spec")
    notes = [f"fla: {compat.install(spec.device)}"]
    if compat.torch_compile_is_off() and "torch.compile" in header["source"]:
        notes.append("torch.compile decorators run eagerly")
    if "bfloat16" in header["source"]:
        notes.append("products of bfloat16 and float32 matrices, which PyTorch refuses, are taken in float32")
    torch.set_float32_matmul_precision(spec.scale.matmul_precision)
    if header["kind"] == "probe":
        probe(job, header["source"], spec, notes)
    else:
        run(job, header, spec, arrays, notes)


def run(job: socket.socket, header: dict[str, Any], spec: RunSpec, arrays: list[np.ndarray], notes: list[str]) -> None:
    """Train a candidate; send its loss curve and its logits, honest ones first if there are rows for them.

    arrays: evaluation windows [W, T]; for the honest loss also rows [R, T], scored positions [R], rows of a pass [P].
    """
    model = build_model(header["source"], spec.scale, spec.corpus.vocab_size, spec.seed).to(spec.device)
    send(job, {"kind": "model", "parameters": _count(model), "notes": notes})
    tokens = np.memmap(header["train_tokens"], dtype=header["token_dtype"], mode="r")
    checkpoint = Path(header["checkpoint"]) if header["checkpoint"] else None

    resumes = checkpoint is not None and checkpoint.exists()

    def emit(first: int, losses: np.ndarray) -> None:
        header = {"kind": "steps", "first": first, "restored": resumes and first == 0}
        send(job, header, losses.astype(np.float32))

    train(model, spec, tokens, emit, checkpoint, header["checkpoint_seconds"])
    model.eval()
    windows, *honest = arrays
    piece = rows_per_pass(windows.shape[1], spec.corpus.vocab_size)
    with torch.no_grad():
        if honest:  # before the windows: a program that remembers them would know what follows
            _evaluate_honestly(job, model, spec, *honest)
        seed_libraries(spec.seed, "evaluation")  # a program may draw here too, resumed or not
        for first in range(0, len(windows), piece):
            inputs = torch.from_numpy(windows[first : first + piece].copy()).to(spec.device)
            logits, _ = model(inputs)
            send(job, {"kind": "logits", "first": first}, logits.cpu().numpy())
    send(job, {"kind": "done"})


def _evaluate_honestly(
    job: socket.socket, model: nn.Module, spec: RunSpec, rows: np.ndarray, positions: np.ndarray, passes: np.ndarray
) -> None:
    """Send the logits [rows, V] of each row's scored position, and leave the model's state as it was."""
    tensors = {name: tensor.detach().clone() for name, tensor in _tensors(model)}
    rest = python_state(model)
    seed_libraries(spec.seed, "honest evaluation")
    for last, size in zip(passes.cumsum().tolist(), passes.tolist(), strict=True):
        part = slice(last - size, last)
        logits, _ = model(torch.from_numpy(rows[part].copy()).to(spec.device))
        scored = logits[torch.arange(size), torch.from_numpy(positions[part].copy())]
        send(job, {"kind": "honest", "first": part.start}, scored.cpu().numpy())
    for name, tensor in _tensors(model):
        before = tensors.get(name)
        if before is not None and before.shape == tensor.shape and not torch.equal(before, tensor):
            tensor.copy_(before)
    restore_python_state(model, rest)


def _tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def probe(job: socket.socket, source: str, spec: RunSpec, notes: list[str]) -> None:
    """Send parameters, FLOPs a step and measured seconds a step of a candidate at a scale, without training it."""
    scale = spec.scale
    model = build_model(source, scale, spec.corpus.vocab_size, spec.seed).to(spec.device)
    generator = torch.Generator().manual_seed(0)

    def step(sequences: int) -> None:
        tokens = torch.randint(spec.corpus.vocab_size, (sequences, scale.sequence_length + 1), generator=generator)
        tokens = tokens.to(spec.device)
        logits, auxiliary = model(tokens[:, :-1])
        (F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()) + auxiliary).backward()
        model.zero_grad()

    with FlopCounterMode(display=False) as counter:
        step(1)
    flops = counter.get_total_flops() * scale.batch_size
    began = time.perf_counter()
    step(scale.micro_batch_size)
    if spec.device == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) * scale.batch_size / scale.micro_batch_size
    send(
        job,
        {
            "kind": "probe",
            "parameters": _count(model),
            "flops_per_step": flops,
            "seconds_per_step": seconds,
            "notes": notes,
        },
    )


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _prepare_process(header: dict[str, Any]) -> None:
    """Limits of this process, before any candidate code is seen."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if header["spec"]["device"] == "cpu":  # CUDA maps far more than it uses
        resource.setrlimit(resource.RLIMIT_DATA, (header["memory_bytes"], header["memory_bytes"]))
    torch.set_num_threads(header["spec"]["threads"])


def _report(job: socket.socket, error: BaseException) -> None:
    """Answer with a status for an exception that ended the job."""
    step = None
    if isinstance(error, Diverged):
        status, text, step = "diverged", str(error), error.step
    elif isinstance(error, CheckpointError):
        status, text = "bad_checkpoint", str(error)
    elif _is_out_of_memory(error):
        status, text = "out_of_memory", "memory limit reached"
    elif isinstance(error, CandidateError):
        status, text = "crashed", str(error)
    else:
        status, text = "crashed", f"{_place(error)}{type(error).__name__}: {error}"
    send(job, {"kind": "failed", "status": status, "error": " ".join(text.split())[:500], "step": step})
    os._exit(1)


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _place(error: BaseException) -> str:
    """The last line of the candidate's own source that the error passed through."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(SOURCE_NAME)
    ]
    return f"line {lines[-1]}: " if lines else ""


def _die_with_parent() -> None:
    """No orphan goes on computing after `kill -9` of the parent (Linux; elsewhere the closed socket ends it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
