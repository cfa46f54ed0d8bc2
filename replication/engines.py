"""Engines: where jobs run. For now: local worker processes, one warm worker a slot."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from replication.settings import require
from replication.wire import CONTROL, WireError, receive, send

POLL_SECONDS = 0.1
PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "TRITON_INTERPRET")


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """conf/engine/local.yaml"""

    device: Literal["auto", "cpu", "cuda"]
    processes: int | None  # None: one a core, or one a GPU machine
    threads: int  # a worker
    memory_gib: float  # a worker
    time_factor: float  # a run may take this many times its estimate
    time_floor_seconds: float  # and always this long
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        require(self.processes is None or self.processes > 0, "engine.processes: must be above 0 or null")
        for field in ("threads", "memory_gib", "time_factor", "time_floor_seconds"):
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

    def slots(self) -> int:
        """Worker processes at a time."""
        if self.processes is not None:
            return self.processes
        return 1 if self.resolved_device() == "cuda" else max(1, len(os.sched_getaffinity(0)) // self.threads)


class Stopped(Exception):
    """The engine is closing (Ctrl-C); the job in hand has no result."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job's process ended."""

    killed_for: Literal["time", "memory"] | None
    exit_status: int  # as of os.wait4: 0 is a clean end
    refused: str | None  # what was wrong with its answer, if that is why it was cut off
    peak_memory_bytes: int


class Job:
    """The conversation with one job's process. A process that is gone takes what is sent and answers nothing."""

    def __init__(self, sock: socket.socket, memory_bytes: int) -> None:
        self._socket, self._memory_bytes = sock, memory_bytes
        self.ended: Ended | None = None

    def send(self, header: dict[str, Any], *arrays: np.ndarray) -> None:
        """Send a frame; the first one tells the process its memory limit, too."""
        with contextlib.suppress(ConnectionError):  # how the process ended says the rest
            send(self._socket, {**header, "memory_bytes": self._memory_bytes}, *arrays)

    def receive(self) -> tuple[dict[str, Any], list[np.ndarray]] | None:
        """The next frame; None when there will be none. Raises WireError where it is no frame."""
        try:
            return receive(self._socket)
        except ConnectionError:
            return None


class WarmWorker:
    """A process with PyTorch loaded that forks one child a job. Used by one thread at a time."""

    def __init__(self, threads: int) -> None:
        self._control, theirs = socket.socketpair()
        self._home = tempfile.TemporaryDirectory(prefix="archaudit-worker-")
        self.stopping = False
        self._child: int | None = None
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "replication.worker", str(theirs.fileno())],
                env=_clean_environment(threads, self._home.name),
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
        seconds: float,
        memory_bytes: int,
    ) -> Ended:
        """Run one job; `on_frame` gets every frame of its answer and may raise WireError to reject it.

        Args:
            seconds: wall time after which the job is killed.
            memory_bytes: resident memory above which the job is killed.

        Raises:
            Stopped: `close` was called meanwhile.
        """
        refused = None
        with self.job(seconds, memory_bytes) as job:
            try:
                job.send(header, *arrays)
                while (frame := job.receive()) is not None:
                    on_frame(*frame)
                    if frame[0]["kind"] in ("done", "failed", "probe"):
                        break
            except WireError as error:
                refused = str(error)
        assert job.ended is not None
        return replace(job.ended, refused=refused)

    @contextlib.contextmanager
    def job(self, seconds: float, memory_bytes: int) -> Iterator[Job]:
        """A job's process, to talk to; it is killed on leaving, and how it ended is then known. Limits as for `run`."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._hand_over(theirs)
            self._child = self._read_control()[0]
            watch = _Watchdog(self._child, ours, seconds, memory_bytes)
            job = Job(ours, memory_bytes)
            try:
                yield job
            finally:
                _kill_group(self._child)
                watch.stop()
                _, status, peak = self._read_control()
                self._child = None
                job.ended = Ended(killed_for=watch.killed_for, exit_status=status, refused=None, peak_memory_bytes=peak)
        if self.stopping:
            raise Stopped

    def _hand_over(self, job: socket.socket) -> None:
        if self.stopping:
            raise Stopped
        try:
            socket.send_fds(self._control, [b"j"], [job.fileno()])
        except ConnectionError:
            if self.stopping:
                raise Stopped from None
            raise

    def _read_control(self) -> tuple[int, int, int]:
        data = b""
        while len(data) < CONTROL.size:
            try:
                piece = self._control.recv(CONTROL.size - len(data))
            except ConnectionError:
                piece = b""
            if not piece:
                if self.stopping:
                    raise Stopped
                raise RuntimeError(f"the warm worker ended (exit code {self._process.wait()})")
            data += piece
        pid, status, peak = CONTROL.unpack(data)
        return pid, status, peak

    def close(self) -> None:
        """Kill the worker and the job in hand."""
        self.stopping = True
        if self._child is not None:
            _kill_group(self._child)
        self._process.kill()
        self._process.wait()
        self._home.cleanup()


class _Watchdog:
    """Kills a job's process group when it outlasts its time or outgrows its memory, and ends its conversation."""

    def __init__(self, pid: int, sock: socket.socket, seconds: float, memory_bytes: int) -> None:
        self.killed_for: Literal["time", "memory"] | None = None
        self._pid, self._socket = pid, sock
        self._deadline, self._memory_bytes = time.monotonic() + seconds, memory_bytes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            if time.monotonic() > self._deadline:
                self.killed_for = "time"
            elif _resident_bytes(self._pid) > self._memory_bytes:
                self.killed_for = "memory"
            if self.killed_for:
                _kill_group(self._pid)
                self._socket.shutdown(socket.SHUT_RDWR)  # a process that left the group may still hold the other end
                return

    def stop(self) -> None:
        self._done.set()
        self._thread.join()


Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalEngine(Generic[Item, Result]):
    """Runs items on `slots` warm workers. A context manager: leaving it kills what still runs."""

    def __init__(self, slots: int, threads: int) -> None:
        self._workers = [WarmWorker(threads) for _ in range(slots)]
        self._pool = ThreadPoolExecutor(slots)

    def __enter__(self) -> LocalEngine[Item, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.close()
        self._pool.shutdown()

    def map(
        self, items: Sequence[Item], work: Callable[[WarmWorker, Item], Result | None]
    ) -> Iterator[tuple[Item, Result]]:
        """Yield (item, result) as results come. An item for which `work` returns None is tried again later."""
        waiting = deque(items)
        results: Queue[tuple[Item, Result]] = Queue()
        slots = [self._pool.submit(_serve_slot, worker, waiting, work, results) for worker in self._workers]
        done = 0
        while done < len(items):
            try:
                result = results.get(timeout=POLL_SECONDS)
            except Empty:
                for slot in slots:
                    if slot.done():
                        slot.result()  # raises what ended the slot
                continue
            done += 1
            yield result


def _serve_slot(
    worker: WarmWorker,
    waiting: deque[Item],
    work: Callable[[WarmWorker, Item], Result | None],
    results: Queue[tuple[Item, Result]],
) -> None:
    while True:
        try:
            item = waiting.popleft()
        except IndexError:
            return
        try:
            result = work(worker, item)
        except Stopped:
            return
        if result is None:
            if worker.stopping:
                return
            waiting.append(item)
            time.sleep(POLL_SECONDS)
        else:
            results.put((item, result))


def _clean_environment(threads: int, home: str) -> dict[str, str]:
    """What a worker may know: no keys, no user's home, one thread count, reproducible libraries."""
    package_root = str(Path(__file__).resolve().parents[1])
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
        "PYTHONPATH": os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": home,
        "TMPDIR": home,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",  # on a busy machine, spinning threads cost ten times what they do
        "MKL_CBWR": "AUTO,STRICT",  # the same bits for any number of threads, as far as MKL goes
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        try:
            os.kill(pid, signal.SIGKILL)  # not yet the leader of its own group
        except ProcessLookupError:
            return


def _resident_bytes(pid: int) -> int:
    """Memory that the process itself fills; pages of the mapped training shard are the system's to drop."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
