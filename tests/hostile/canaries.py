"""What attacks aim at, and what became of it: files, services, a process and secrets made for nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Self

import torch

PROJECT = Path(__file__).resolve().parents[2]
DROP_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm", "/run")
FILES = (
    *("home/.ssh/id_ed25519", "home/.ssh/authorized_keys", "home/.profile", "project/.git/config"),
    *("project/measure.py", "results/findings.json", "results/report.html", "results/ledger/aa/record.json"),
    *("cron/daily", "work/other/checkpoint", "site/__pycache__/helper.cpython-311.pyc"),
)
_VICTIM = """
import ctypes, os, sys, time
memory = ctypes.create_string_buffer(os.environ["HOSTILE_KEY"].encode())
print(ctypes.addressof(memory), flush=True)
sys.stdin.read()
"""


class Canaries:
    """Things to steal, change, reach and kill. A context manager: leaving it takes everything away."""

    def __init__(self) -> None:
        self.secret = f"hostile-secret-{secrets.token_hex(8)}"
        self.drop = f"hostile-drop-{secrets.token_hex(8)}"
        self.folder = Path(tempfile.mkdtemp(prefix="archaudit-hostile-"))
        self.work = self.folder / "work" / "own"
        self._memory = ctypes.create_string_buffer(self.secret.encode())
        self._signals = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        before = signal.signal(signal.SIGUSR1, self._count)
        self._stack.callback(signal.signal, signal.SIGUSR1, before)
        os.environ["HOSTILE_KEY"] = self.secret
        self._stack.callback(os.environ.pop, "HOSTILE_KEY", None)
        self._sockets: dict[str, socket.socket] = {}
        self.reset()
        return self

    def __exit__(self, *_: object) -> None:
        self._close_sockets()
        self._end_victim()
        self._stack.close()

    def reset(self) -> None:
        """Make everything anew."""
        for path in self.folder.iterdir():
            shutil.rmtree(path)
        for name in FILES:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{name} {self.secret}\n")
        self.work.mkdir()
        (self.folder / "sockets").mkdir()
        self._close_sockets()
        self._open_sockets()
        self._end_victim()
        self._start_victim()
        self._signals = 0
        self._before = self._snapshot()

    def values(self) -> dict[str, str]:
        """By what to fill the placeholders of a program."""
        port = {
            name: str(sock.getsockname()[1]) for name, sock in self._sockets.items() if sock.family != socket.AF_UNIX
        }
        return {
            "CANARY": str(self.folder),
            "WORK": str(self.work),
            "DROP": self.drop,
            "PROJECT": str(PROJECT),
            "HOME": str(Path.home()),
            "PARENT_PID": str(os.getpid()),
            "PARENT_ADDRESS": str(ctypes.addressof(self._memory)),
            "VICTIM_PID": str(self._victim.pid),
            "VICTIM_ADDRESS": self._victim_address,
            "TCP_PORT": port["TCP over IPv4"],
            "TCP6_PORT": port.get("TCP over IPv6", "9"),
            "UDP_PORT": port["UDP over IPv4"],
            "UNIX_STREAM": str(self.folder / "sockets" / "stream"),
            "UNIX_DATAGRAM": str(self.folder / "sockets" / "datagram"),
            "ABSTRACT_NAME": self.drop,
        }

    def faults(self) -> list[str]:
        """What was touched since the last reset. Empties the work folder."""
        after = self._snapshot()
        changed = sorted(
            name for name in after.keys() | self._before.keys() if after.get(name) != self._before.get(name)
        )
        found = [f"changed {name}" for name in changed]
        dropped = [path for path in self._drops() if os.path.lexists(path)]
        found += [f"wrote {path}" for path in dropped]
        for path in dropped:
            path.unlink(missing_ok=True)  # two folders may be one
        reached = select.select(self._sockets.values(), [], [], 0)[0]
        found += [f"reached {name}" for name, sock in self._sockets.items() if sock in reached]
        state = Path(f"/proc/{self._victim.pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        if self._victim.poll() is not None or state in "tTZX":
            found.append("harmed the bystander")
        if self._signals:
            found.append("signalled the parent")
        if self._memory.value != self.secret.encode():
            found.append("changed the parent's memory")
        found += [f"the secret lies in {path}" for path in self.work.rglob("*") if self._holds_secret(path)]
        shutil.rmtree(self.work)
        self.work.mkdir()
        return found

    def _holds_secret(self, path: Path) -> bool:
        return path.is_file() and self.secret.encode() in path.read_bytes()

    def _drops(self) -> Iterator[Path]:
        """Every place where a program may have left its file."""
        for name in (*DROP_FOLDERS, *filter(None, sys.path)):
            yield Path(name) / self.drop
        pycache = Path(torch.__file__).with_name("__pycache__")
        for folder in (Path.home(), PROJECT, PROJECT / "replication", PROJECT / "conf", pycache):
            yield folder / self.drop

    def _snapshot(self) -> dict[str, tuple[object, ...]]:
        """What can be seen of every file but those of the job's own work folder."""
        found: dict[str, tuple[object, ...]] = {}
        for path in [self.folder, *self.folder.rglob("*")]:
            if self.work in path.parents or path == self.work:
                continue
            about = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            size = about.st_size if path.is_file() else 0
            found[str(path.relative_to(self.folder))] = (about.st_mode, about.st_uid, about.st_nlink, size, content)
            if path.is_file():
                found[str(path.relative_to(self.folder))] += (about.st_mtime_ns, *os.listxattr(path))
        return found

    def _open_sockets(self) -> None:
        for name, family, kind, address in (
            ("TCP over IPv4", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("TCP over IPv6", socket.AF_INET6, socket.SOCK_STREAM, ("::", 0)),
            ("UDP over IPv4", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("a socket file", socket.AF_UNIX, socket.SOCK_STREAM, str(self.folder / "sockets" / "stream")),
            (
                "a socket file by datagrams",
                socket.AF_UNIX,
                socket.SOCK_DGRAM,
                str(self.folder / "sockets" / "datagram"),
            ),
            ("an abstract socket", socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self.drop}"),
        ):
            sock = socket.socket(family, kind)
            try:
                sock.bind(address)
            except OSError:  # a machine without IPv6
                sock.close()
                continue
            if kind == socket.SOCK_STREAM:
                sock.listen(16)
            self._sockets[name] = sock

    def _close_sockets(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._sockets = {}

    def _start_victim(self) -> None:
        self._victim = subprocess.Popen(
            [sys.executable, "-S", "-c", _VICTIM],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._victim.stdout is not None
        self._victim_address = self._victim.stdout.readline().strip()

    def _end_victim(self) -> None:
        if hasattr(self, "_victim"):
            self._victim.kill()
            self._victim.communicate()

    def _count(self, number: int, frame: FrameType | None) -> None:
        self._signals += 1


PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """From here on, whatever a descendant leaves behind becomes a child of this process, and can be seen."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def descendants() -> dict[int, str]:
    """Living processes below this one: number and name."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, tail = path.read_text(errors="replace").rpartition(")")
            pid, name = head.split(" (", 1)
            state, parent = tail.split()[:2]
            if state not in "ZX":
                parents[int(pid)], names[int(pid)] = int(parent), name
    return {pid: name for pid, name in names.items() if os.getpid() in _above(pid, parents)}


def _above(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while (parent := parents.get(pid)) is not None:
        yield parent
        pid = parent


def left_over(before: dict[int, str], seconds: float = 2.0) -> dict[int, str]:
    """Descendants that were not there before and do not end by themselves at once; they are ended here."""
    deadline = time.monotonic() + seconds
    while (
        left := {pid: name for pid, name in descendants().items() if pid not in before}
    ) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return left
