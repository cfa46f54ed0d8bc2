"""Processes that play a part in a job: a warm one that has PyTorch loaded, and its confined children."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from replication.containment import Access, ContainmentSettings, Layer, checked_layers, readable_libraries
from replication.containment import launcher as containment_launcher
from replication.environment import clean_environment
from replication.record import Training
from replication.settings import require
from replication.watchdog import Cause, Limits, Meter, Most, Watchdog, clear, kill_group
from replication.wire import CONTROL, REQUEST, StreamEnded, WireError, receive, send


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """conf/engine/local.yaml"""

    device: Literal["auto", "cpu", "cuda"]
    processes: int | None  # None: one a core, or one a GPU machine
    threads: int  # a worker
    memory_gib: float  # a worker
    time_factor: float  # a run may take this many times its estimate
    time_floor_seconds: float  # and always this long,
    time_ceiling_seconds: float  # but never longer
    checkpoint_seconds: float
    lift: bool  # as RunSpec.lift
    training: Literal["auto", "separate", "joint"]
    containment: ContainmentSettings

    def __post_init__(self) -> None:
        require(self.processes is None or self.processes > 0, "engine.processes: must be above 0 or null")
        for field in ("threads", "memory_gib", "time_factor", "time_floor_seconds", "time_ceiling_seconds"):
            require(getattr(self, field) > 0, f"engine.{field}: must be above 0")
        require(self.checkpoint_seconds >= 0, "engine.checkpoint_seconds: must not be negative")

    def resolved_device(self) -> Literal["cpu", "cuda"]:
        """The device that runs use. Raises InputError where `cuda` is asked for and there is none."""
        import torch

        require(sys.platform == "linux", "engine: the local engine forks workers and reads /proc, so it needs Linux")
        require(self.device != "cuda" or torch.cuda.is_available(), "engine.device=cuda: no CUDA device is usable here")
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device

    def resolved_training(self) -> Training:
        """Whose process trains (`RunSpec.training`): the candidate's on a GPU, ours elsewhere, unless it is set."""
        if self.training == "auto":
            return "joint" if self.resolved_device() == "cuda" else "separate"
        return self.training

    def limits(self, seconds: float) -> Limits:
        """Limits of a process that may take `seconds`."""
        memory_bytes = int(self.memory_gib * 2**30)
        return Limits(seconds=seconds, memory_bytes=memory_bytes, device=self.resolved_device())

    def slots(self) -> int:
        """Worker processes at a time."""
        if self.processes is not None:
            return self.processes
        return 1 if self.resolved_device() == "cuda" else max(1, len(os.sched_getaffinity(0)) // self.threads)


class Stopped(Exception):
    """The engine is closing (Ctrl-C); the job in hand has no result."""


class WorkerEnded(Exception):
    """The warm worker is gone, or one of its children before its job began; the job in hand has no result."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job's process ended."""

    killed_for: Cause | None
    exit_status: int  # as of os.wait4: 0 is a clean end
    refused: str | None  # what was wrong with its answer, if that is why it was cut off
    peak_memory_bytes: int
    layers: dict[Layer, str]  # of confinement, and how each was on
    by_itself: bool  # before we killed it


class Job:
    """A process of a worker, to talk to. One that is gone takes what is sent and answers nothing."""

    def __init__(
        self, pid: int, sock: socket.socket, memory: int, scratch: Path, limits: Limits, most: Most, meter: Meter
    ) -> None:
        self.pid, self.socket = pid, sock
        self.memory = memory  # the descriptor of a file in memory that the process has, too
        self.scratch = scratch
        self.layers: dict[Layer, str] = {}
        self.ended: Ended | None = None
        self._killed = False
        self._memory_bytes = limits.memory_bytes
        self.watch = Watchdog(pid, sock, memory, scratch, limits, most, meter)

    def send(self, header: dict[str, Any], *arrays: np.ndarray) -> None:
        """Send a frame."""
        with contextlib.suppress(ConnectionError):  # how the process ended says the rest
            send(self.socket, header, *arrays)

    def hand_over(self, descriptors: Sequence[int]) -> None:
        """Pass open files on to the process."""
        with contextlib.suppress(ConnectionError):
            socket.send_fds(self.socket, [b"f"], list(descriptors))

    def receive(self, most: int | None = None) -> tuple[dict[str, Any], list[np.ndarray]] | None:
        """The next frame, with arrays of `most` bytes; None when there will be none. Raises WireError if it is none."""
        try:
            return receive(self.socket, self._memory_bytes if most is None else most)
        except ConnectionError:
            return None

    def kill(self) -> None:
        """End the process and clear up after it, once."""
        if self._killed:
            return
        self._killed = True
        kill_group(self.pid)
        self.watch.stop()
        self.socket.close()
        os.close(self.memory)
        clear(self.scratch)

    def has_ended(self) -> bool:
        """Whether the process ended before anybody here killed it; asked of one that hung up, so may be just dying."""
        for _ in range(20):
            try:
                state = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
            except OSError:
                return True
            if state == b"Z" or self.watch.killed_for is not None:
                return self.watch.killed_for is None
            time.sleep(0.01)
        return False


class WarmWorker:
    """A process with PyTorch loaded that forks one child a job. Used by one thread at a time."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings, self.stopping = settings, False
        self._children: set[int] = set()
        self._jobs = 0
        self._launch()

    def restart(self) -> None:
        """A new process in place of one that is gone. Raises Stopped where `close` was called."""
        self._kill()
        if not self.stopping:
            self._launch()
        if self.stopping:
            self._kill()
            raise Stopped

    def _launch(self) -> None:
        settings = self.settings
        self._control, theirs = socket.socketpair()
        self._home = tempfile.TemporaryDirectory(prefix="archaudit-worker-", ignore_cleanup_errors=True)
        access = Access(read=readable_libraries(), write=(self._home.name,), device=settings.resolved_device())
        launcher = containment_launcher(settings.containment, access)
        with theirs:
            self._process = subprocess.Popen(
                [*launcher, sys.executable, "-P", "-m", "replication.worker", str(theirs.fileno())],
                env=clean_environment(settings.threads, self._home.name),
                cwd=self._home.name,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def run(
        self,
        header: dict[str, Any],
        arrays: Sequence[np.ndarray],
        on_frame: Callable[[dict[str, Any], list[np.ndarray]], None],
        limits: Limits,
        *,
        files: Sequence[int],
        meter: Meter,
    ) -> Ended:
        """Run one job of a trainer; `on_frame` gets every frame of its answer and may raise WireError to reject it.

        Args:
            header: its `seats` is the number of processes for the candidate's code, which the trainer uses in turn.
            files: descriptors that the trainer gets besides.
            meter: counts what the processes use, and ends the job when that is too much.

        Raises:
            Stopped: `close` was called meanwhile.
            WorkerEnded: it was not us who ended it; `restart` helps.
        """
        refused, culprit, hung_up = None, None, True
        with self.jobs(limits, header["seats"] + 1, meter, trainer=True) as (trainer, *hosts):
            try:
                for host in hosts:
                    precision = header["spec"]["scale"]["matmul_precision"]
                    host.send({"kind": "host", "device": limits.device, "matmul_precision": precision})
                trainer.send(header, *arrays)
                for host in hosts:
                    trainer.hand_over([host.socket.fileno(), host.memory])
                trainer.hand_over(files)
                while (frame := trainer.receive()) is not None:
                    kind = frame[0]["kind"]
                    if kind == "left":
                        self._end(_seated(frame[0], hosts))  # before another process of this candidate starts
                        trainer.send({"kind": "next"})
                        continue
                    if kind == "gone":
                        culprit, refused = _seated(frame[0], hosts), str(frame[0].get("error") or "") or None
                        break
                    on_frame(*frame)
                    if kind in ("done", "failed", "probe"):
                        hung_up = False
                        break
            except WireError as error:
                refused, hung_up = str(error), isinstance(error, StreamEnded)
            if hung_up:
                self._end(culprit or trainer, by_itself=(culprit or trainer).has_ended())
        return _together(trainer, hosts, culprit, refused)

    @contextlib.contextmanager
    def jobs(self, limits: Limits, count: int, meter: Meter, *, trainer: bool = False) -> Iterator[list[Job]]:
        """Confined processes; they are killed on leaving, and how they ended is then known.

        trainer: the first of them runs no candidate code, and may open the libraries on a CPU.

        Raises:
            InputError: a layer of confinement is off that the settings demand.
            Stopped: `close` was called meanwhile.
        """
        jobs: list[Job] = []
        try:
            for place in range(count):
                jobs.append(self._start(limits, meter, trusted=trainer and place == 0))
            for job in jobs:
                self._confirm(job)
            yield jobs
        finally:
            with contextlib.ExitStack() as stack:  # each, whatever happens to another
                for job in jobs:
                    stack.callback(self._end, job)
        if self.stopping:
            raise Stopped

    def _start(self, limits: Limits, meter: Meter, *, trusted: bool) -> Job:
        """Fork a process and have it confine itself, before it is told anything of a candidate."""
        ours, theirs = socket.socketpair()
        self._jobs += 1
        scratch = Path(self._home.name) / str(self._jobs)
        scratch.mkdir()
        memory = _file_in_memory(limits.memory_bytes)
        with theirs:
            self._ask("f", 0, [theirs.fileno(), memory])
        pid = self._read_control()[0]
        self._children.add(pid)
        containment = self.settings.containment
        job = Job(pid, ours, memory, scratch, limits, Most.of(containment), meter)
        told = {"access": asdict(self._access(str(scratch), trusted)), "settings": asdict(containment)}
        threads, memory_bytes = self.settings.threads, limits.memory_bytes
        job.send({"kind": "confine", "scratch": str(scratch), "threads": threads, "memory_bytes": memory_bytes, **told})
        return job

    def _access(self, scratch: str, trusted: bool) -> Access:
        """What a child may open. On a CPU, candidate code may open nothing: what it may import is loaded already, and
        of a file that two processes can open, one can tell the other that it did so.
        """
        device = self.settings.resolved_device()
        if device == "cpu":
            return Access(read=readable_libraries() if trusted else (), write=(), device=device)
        return Access(read=readable_libraries(), write=(scratch,), device=device)

    def _confirm(self, job: Job) -> None:
        """Wait until a process is confined, and take down how."""
        frame = job.receive()
        if frame is None:
            if self.stopping:
                raise Stopped
            raise WorkerEnded("a process ended while it confined itself")
        job.layers = checked_layers(frame[0].get("layers"), self.settings.containment)

    def _end(self, job: Job, *, by_itself: bool = False) -> None:
        """Kill a process and clear up after it, once."""
        if job.ended is not None:
            return
        job.kill()
        self._children.discard(job.pid)
        self._ask("r", job.pid, [])
        _, status, peak, cpu_seconds = self._read_control()
        job.watch.meter.ended(job.pid, cpu_seconds)
        killed_for = job.watch.killed_for
        job.ended = Ended(
            killed_for=killed_for,
            exit_status=status,
            refused=None,
            peak_memory_bytes=peak,
            layers=job.layers,
            by_itself=by_itself,
        )

    def _ask(self, request: str, pid: int, descriptors: list[int]) -> None:
        if self.stopping:
            raise Stopped
        try:
            socket.send_fds(self._control, [REQUEST.pack(request.encode(), pid)], descriptors)
        except ConnectionError:
            if self.stopping:
                raise Stopped from None
            raise WorkerEnded(f"the warm worker ended (exit code {self._process.wait()})") from None

    def _read_control(self) -> tuple[int, int, int, float]:
        data = b""
        while len(data) < CONTROL.size:
            try:
                piece = self._control.recv(CONTROL.size - len(data))
            except ConnectionError:
                piece = b""
            if not piece:
                if self.stopping:
                    raise Stopped
                raise WorkerEnded(f"the warm worker ended (exit code {self._process.wait()})")
            data += piece
        pid, status, peak, cpu_seconds = CONTROL.unpack(data)
        return pid, status, peak, cpu_seconds

    def close(self) -> None:
        """Kill the worker and the job in hand."""
        self.stopping = True
        self._kill()

    def _kill(self) -> None:
        for pid in list(self._children):
            kill_group(pid)
        self._children.clear()
        self._process.kill()
        self._process.wait()
        clear(Path(self._home.name))
        self._home.cleanup()


def _file_in_memory(size: int) -> int:
    """Descriptor of a file of `size` bytes, or of as many as this user's files may have; empty pages take no memory."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    descriptor = os.memfd_create("exchange", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, size if most == resource.RLIM_INFINITY else min(size, most))
    # a process that could shrink it would kill its trainer
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return descriptor


def _seated(header: dict[str, Any], hosts: Sequence[Job]) -> Job:
    seat = header.get("seat")
    if type(seat) is not int or not 0 <= seat < len(hosts):
        raise WireError("a seat that there is not")
    return hosts[seat]


def _together(trainer: Job, hosts: Sequence[Job], culprit: Job | None, refused: str | None) -> Ended:
    """How a job ended whose processes have: by the culprit, else by one that was killed for a limit, else by itself."""
    ended = {job: job.ended for job in (trainer, *hosts) if job.ended is not None}
    over = [job for job in ended if ended[job].killed_for is not None]
    cause = ended[culprit or (over[0] if over else trainer)]
    peak = ended[trainer].peak_memory_bytes + max(ended[host].peak_memory_bytes for host in hosts)
    return replace(cause, refused=refused, peak_memory_bytes=peak, layers=hosts[0].layers)
