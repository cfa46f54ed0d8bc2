"""The worker: the only kind of process that imports and runs candidate code.

`python -m replication.worker FD` starts a warm process that has PyTorch loaded and forks one child a job, so that a
job starts in milliseconds. A child confines itself before it is told anything of a candidate, and then plays one part:
a trainer (replication/trainer.py), a host of a candidate's mixers (replication/mixers.py), or a subject of the
examiner (replication/subject.py); or it tells which parts of a program can be lifted (replication/lift/) and what that
gives (replication/lift_time.py). An exception that nothing catches is answered by the child's excepthook.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path

import torch

from replication import compat, mixers, trainer
from replication.containment import Access, ContainmentSettings, confine
from replication.lift import lift
from replication.lift_time import time_lifting
from replication.preload import preload
from replication.program import SOURCE_NAME, CandidateError
from replication.record import RunSpec
from replication.remote import MixerFailed, MixerGone
from replication.settings import typed
from replication.subject import Subject, attend
from replication.train import CheckpointError, Diverged
from replication.wire import CONTROL, REQUEST, receive, send

_PR_SET_PDEATHSIG = 1


def serve(control: socket.socket) -> None:
    """Fork a child for each job that arrives on `control`, and reap it when asked to."""
    _die_with_parent()
    torch.set_num_threads(1)  # no thread pool may exist when a child is forked
    preload()
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, REQUEST.size, 2)
        if not message:
            return
        request, pid = REQUEST.unpack(message)
        if request == b"r":
            _, status, usage = os.wait4(pid, 0)
            control.sendall(CONTROL.pack(pid, status, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime))
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            _play(socket.socket(fileno=descriptors[0]), descriptors[1])
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(CONTROL.pack(pid, 0, 0, 0.0))


def _play(job: socket.socket, memory: int) -> None:
    """A child's life."""
    os.setsid()
    _die_with_parent()
    sys.excepthook = lambda _kind, error, _trace: _report(job, error)
    try:
        _prepare(job)
        answer(job, memory)
    except SystemExit as error:  # ends an interpreter without a word to its excepthook
        _report(job, error)
    os._exit(0)


def answer(job: socket.socket, memory: int) -> None:
    """Play the part that the first frame names."""
    frame = receive(job)
    if frame is None:
        return
    header, arrays = frame
    device = header["device"]
    if header["kind"] == "host":
        compat.install(device)
        torch.set_float32_matmul_precision(header["matmul_precision"])
        mixers.attend(job, memory, device)
    elif header["kind"] == "examine":
        compat.install(device)
        attend(job, Subject(header["source"], header["hidden_size"], header["num_heads"], device))
    elif header["kind"] == "lift":
        compat.install(device)
        told = lift(header["source"], header["hidden_size"], header["num_heads"]).parts
        send(job, {"kind": "lift", "lifted": told})
    elif header["kind"] == "time":
        compat.install(device)
        spec = typed(RunSpec, header["spec"], "time.spec")
        torch.set_float32_matmul_precision(spec.scale.matmul_precision)
        send(job, {"kind": "time", **time_lifting(header["source"], spec)})
    else:
        trainer.attend(job, header, arrays)


def _prepare(job: socket.socket) -> None:
    """Confine this process as the first frame says, before any candidate code is seen, and say how that went."""
    frame = receive(job)
    assert frame is not None
    header, _ = frame
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    os.chdir(header["scratch"])
    settings = typed(ContainmentSettings, header["settings"], "containment")
    access = typed(Access, header["access"], "access")
    layers = confine(access, settings, header["memory_bytes"])
    os.environ["HOME"] = os.environ["TMPDIR"] = tempfile.tempdir = str(Path.cwd())  # may have become the root
    torch.set_num_threads(header["threads"])  # no thread may be there before
    send(job, {"kind": "confined", "layers": layers})


def _report(job: socket.socket, error: BaseException) -> None:
    """Answer with a status for an exception that ended the job."""
    step: int | None = None
    if isinstance(error, MixerGone):
        send(job, {"kind": "gone", "seat": error.seat, "error": error.error})
        os._exit(1)
    if isinstance(error, MixerFailed):
        status, text, step = error.status, str(error), error.step
    elif isinstance(error, Diverged):
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
