"""Faults that are put into a session's process before its first line; all can be pickled."""

from __future__ import annotations

import ctypes
import datetime
import errno
import fcntl
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.truncate", "os.link")
DAY = 86400.0


def changes_below(root: Path, act: Callable[[int], None]) -> None:
    """Call `act` with 1, 2, ... at every moment at which this process is about to change something below `root`.

    These are the files opened for writing, and the names made, moved and removed there, so the points between which a
    folder looks different from outside.
    """
    below, count = str(root), [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event in CHANGES:
            path = arguments[1] if event == "os.symlink" else arguments[0]
        else:
            return
        if isinstance(path, str | os.PathLike) and os.path.abspath(path).startswith(below):  # noqa: PTH100  as it is
            count[0] += 1
            act(count[0])

    sys.addaudithook(hook)


@dataclass(frozen=True)
class CountChanges:
    """Keep the number of changes so far below `root` in the file `into`."""

    root: Path
    into: Path

    def __call__(self) -> None:
        def act(number: int) -> None:
            self.into.write_text(str(number))

        changes_below(self.root, act)


@dataclass(frozen=True)
class KillAtChange:
    """`kill -9` when the session is about to make its `number`-th change below `root`."""

    root: Path
    number: int

    def __call__(self) -> None:
        def act(number: int) -> None:
            if number == self.number:
                os.kill(os.getpid(), signal.SIGKILL)

        changes_below(self.root, act)


@dataclass(frozen=True)
class FailFromChange:
    """From its `number`-th change below `root` on, every one fails as `code` says (ENOSPC, EROFS, EIO, ...)."""

    root: Path
    number: int
    code: int

    def __call__(self) -> None:
        def act(number: int) -> None:
            if number >= self.number:
                raise OSError(self.code, os.strerror(self.code))

        changes_below(self.root, act)


@dataclass(frozen=True)
class Clock:
    """The wall clock is `first` seconds off, and `then` seconds off once it was read `reads` times."""

    first: float
    then: float
    reads: int

    def __call__(self) -> None:
        real_time, real_datetime = time.time, datetime.datetime
        count = [0]

        def shifted() -> float:
            count[0] += 1
            return real_time() + (self.first if count[0] <= self.reads else self.then)

        class Shifted(datetime.datetime):
            @classmethod
            def now(cls, tz: datetime.tzinfo | None = None) -> Any:
                return real_datetime.fromtimestamp(shifted(), tz)

        time.time, time.time_ns = shifted, lambda: int(shifted() * 1e9)
        datetime.datetime = Shifted  # type: ignore[misc]
        for module in list(sys.modules.values()):  # those loaded before, in the process that sessions are forked from
            for name, value in list(vars(module).items()):
                if value is real_datetime and module is not datetime:
                    setattr(module, name, Shifted)
                elif value is real_time:
                    setattr(module, name, shifted)


@dataclass(frozen=True)
class NoLocks:
    """A file system without working locks: `flock` does nothing (code None) or fails (ENOLCK, ENOSYS, ...)."""

    code: int | None

    def __call__(self) -> None:
        def flock(descriptor: int, operation: int) -> None:
            if self.code is not None and operation != fcntl.LOCK_UN:
                raise OSError(self.code, os.strerror(self.code))

        fcntl.flock = flock  # type: ignore[assignment]


@dataclass(frozen=True)
class OtherMachine:
    """Another host name and, where the system allows it, process ids of its own, which are those of every other one."""

    name: str

    def __call__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if os.geteuid() != 0 or libc.unshare(0x20000000 | 0x00020000 | 0x04000000) != 0:  # NEWPID, NEWNS, NEWUTS
            socket.gethostname = lambda: self.name
            return
        socket.sethostname(self.name)
        child = os.fork()  # the first process of the new machine
        if child:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda got, _: os.kill(child, got))
            os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
        libc.prctl(1, signal.SIGKILL)  # kill -9 of the process outside ends the machine
        libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None)  # MS_REC | MS_PRIVATE
        if libc.mount(b"proc", b"/proc", b"proc", 0, None) != 0:
            raise OSError(ctypes.get_errno(), "no /proc for the new machine")


@dataclass(frozen=True)
class InMounts:
    """Live among the mounts of process `pid`."""

    pid: int

    def __call__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        for name in ("mnt",) if os.geteuid() == 0 else ("user", "mnt"):
            with Path(f"/proc/{self.pid}/ns/{name}").open() as namespace:
                if libc.setns(namespace.fileno(), 0) != 0:
                    raise OSError(ctypes.get_errno(), "cannot enter the mounts")


@dataclass(frozen=True)
class ClosedOutput:
    """Standard output goes to a reader that is gone, as behind `| head`; standard error too where `both`."""

    both: bool

    def __call__(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        for descriptor in (1, 2) if self.both else (1,):
            os.dup2(writing, descriptor)


FULL, READ_ONLY, BROKEN = errno.ENOSPC, errno.EROFS, errno.EIO
