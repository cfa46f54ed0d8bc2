"""What a process of a job may use, and the thread that kills it when it takes more."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from replication.containment import ContainmentSettings

POLL_SECONDS = 0.1
TICKS = os.sysconf("SC_CLK_TCK")
Cause = Literal["time", "memory", "thread", "disk", "compute"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one process of a job; `seconds` is wall time, `memory_bytes` resident memory."""

    seconds: float
    memory_bytes: int
    device: Literal["cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class Most:
    """What the watchdog allows besides: threads of a process, bytes in its work folder."""

    threads: int
    scratch_bytes: int

    @classmethod
    def of(cls, settings: ContainmentSettings) -> Most:
        """As set."""
        return cls(threads=settings.threads, scratch_bytes=int(settings.scratch_mib * 2**20))


class Meter:
    """The compute of the processes of one run together: CPU seconds, or seconds since it began on a GPU.

    Args:
        most: how much they may use before they are killed; None: as much as they like.
    """

    def __init__(self, device: Literal["cpu", "cuda"], most: float | None) -> None:
        self.most = most
        self._began = time.monotonic() if device == "cuda" else None
        self._living: dict[int, float] = {}
        self._ended = 0.0

    @property
    def cpu_seconds(self) -> float:
        """Used so far, by processes that live as last looked."""
        return self._ended + sum(list(self._living.values()))

    def look(self, pid: int) -> None:
        """Take down what a living process has used."""
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            self._living[pid] = (int(fields[11]) + int(fields[12])) / TICKS

    def ended(self, pid: int, cpu_seconds: float) -> None:
        """Take down what a process used in its whole life."""
        self._living.pop(pid, None)
        self._ended += cpu_seconds

    def spent(self) -> bool:
        """Whether it was more than they may use."""
        used = self.cpu_seconds if self._began is None else time.monotonic() - self._began
        return self.most is not None and used > self.most


class Watchdog:
    """Kills a job's process group when it outlasts its time or outgrows a limit, and ends its conversation.

    Args:
        sock: the parent's end of the conversation.
        memory: descriptor of the file in memory that the process has.
        scratch: its work folder.
        meter: of the run that it is a process of.
    """

    def __init__(
        self, pid: int, sock: socket.socket, memory: int, scratch: Path, limits: Limits, most: Most, meter: Meter
    ) -> None:
        self.killed_for: Cause | None = None
        self.meter = meter
        self._pid, self._socket, self._memory, self._scratch = pid, sock, memory, scratch
        self._limits, self._most = limits, most
        self._deadline = time.monotonic() + limits.seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            while not self._done.wait(POLL_SECONDS) and self.killed_for is None:
                self.killed_for = self._exceeded()
        finally:  # a process that cannot be watched is killed, too
            if not self._done.is_set():
                kill_group(self._pid)
                self._socket.shutdown(socket.SHUT_RDWR)  # a process that left the group may hold the other end

    def _exceeded(self) -> Cause | None:
        if time.monotonic() > self._deadline:
            return "time"
        self.meter.look(self._pid)
        if self.meter.spent():
            return "compute"
        resident, threads, headless = _usage(self._pid)
        if headless:
            return "thread"
        # the file in memory may be filled without a process that maps it
        if max(resident, os.fstat(self._memory).st_blocks * 512) > self._limits.memory_bytes:
            return "memory"
        if threads > self._most.threads:
            return "thread"
        return "disk" if _size(self._scratch, self._most.scratch_bytes) > self._most.scratch_bytes else None

    def stop(self) -> None:
        """Let the process be."""
        self._done.set()
        self._thread.join()


def kill_group(pid: int) -> None:
    """Kill a process and what it started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        try:
            os.kill(pid, signal.SIGKILL)  # not yet the leader of its own group
        except ProcessLookupError:
            return


def _usage(pid: int) -> tuple[int, int, bool]:
    """Bytes of memory that the process itself fills (pages of mapped files are the system's to drop), and threads.

    And whether its first thread has ended while others go on: then nobody tells its memory.
    """
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()  # a process names itself
    except OSError:
        return 0, 0, False
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    resident = sum(int(told.get(name, "0").split()[0]) * 1024 for name in ("RssAnon", "RssShmem", "VmPTE"))
    threads = int(told.get("Threads", "0"))
    return resident, threads, told.get("State", "").split()[:1] == ["Z"] and threads > 1


def _size(folder: Path, most: int) -> int:
    """Bytes of all files below `folder`, a page at least each; stops counting above `most`."""
    total, waiting = 0, [folder]
    while waiting and total <= most:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    about = entry.stat(follow_symlinks=False)
                    total += max(4096, about.st_size, about.st_blocks * 512)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    if total > most:
                        break
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:  # nobody needs folders as deep as that
                return most + 1
            continue  # it went away while we looked
    return total


def clear(folder: Path) -> None:
    """Delete a folder and all below it, however deep: what is inside a folder is moved up before that goes.

    Best effort: what cannot be deleted stays.
    """
    count = 0
    with contextlib.suppress(OSError):
        while entries := list(folder.iterdir()):
            for entry in entries:
                if entry.is_symlink() or not entry.is_dir():
                    entry.unlink()
                    continue
                entry.chmod(0o700)
                for below in entry.iterdir():
                    count += 1
                    if not below.is_symlink() and below.is_dir():
                        below.chmod(0o700)  # a folder that is moved must be writable
                    below.rename(folder / f".{count}")
                entry.rmdir()
        folder.rmdir()
