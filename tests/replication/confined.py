"""What the tests of confinement share: a forked child that confines itself and tries things."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replication import containment
from replication.containment import Access, ContainmentSettings, Layer, confine
from replication.sandbox import kernel, libraries

SETTINGS = ContainmentSettings(
    confine=True, minimum=(), bubblewrap="auto", threads=40, file_mib=1.0, scratch_mib=100.0, open_files=64
)
ORDINARY = 54321
USERS = [pytest.param(None, id="as-this-user")]
if os.getuid() == 0:
    USERS.append(pytest.param(ORDINARY, id="as-ordinary-user"))
Action = Callable[[], object]
TRIED = "0123456789"
# Numbers for x86_64 and aarch64; both where one is given.
FORBIDDEN_CALLS = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "keyctl": (250, 219),
    "add_key": (248, 217), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "unshare": (272, 97),
    "setns": (308, 268), "mount": (165, 40), "chroot": (161, 51), "open_by_handle_at": (304, 265),
    "personality": (135, 92), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "memfd_create": (319, 279), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "kcmp": (312, 272),
    "setpriority": (141, 140), "ioprio_set": (251, 30), "syslog": (103, 116), "seccomp": (317, 277),
    "chdir": (80, 49), "capset": (126, 91), "setuid": (105, 146), "splice": (275, 76), "accept": (43, 202),
}  # fmt: skip


def in_child(work: Callable[[], Any], user: int | None) -> Any:
    """What `work` returns in a forked child, through JSON; "signal N" where the child was killed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = None
        try:
            signal.alarm(30)
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
                ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable again, as a process of that user is
            answer = work()
        finally:
            os.write(writer, json.dumps(traceback.format_exc() if sys.exc_info()[0] else answer).encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        told = file.read()
    status = os.waitpid(pid, 0)[1]
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else json.loads(told)


def outcome(action: Action) -> str:
    """ "done", or the error's name."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except MemoryError:
        return "MemoryError"
    except (RuntimeError, ValueError) as error:
        return str(error)
    return "done"


class Refused:
    """Stands in for kernel.call on a kernel that refuses some calls, or has an older Landlock."""

    def __init__(self, codes: dict[str, int], abi: int | None = None) -> None:
        self.codes, self.abi, self.original = codes, abi, kernel.call

    def __call__(self, name: str, *arguments: int) -> int:
        if name in self.codes:
            raise OSError(self.codes[name], os.strerror(self.codes[name]))
        result = self.original(name, *arguments)
        asks_version = name == "landlock_create_ruleset" and arguments == (0, 0, 1)
        return min(result, self.abi) if asks_version and self.abi else result


def tried(
    folder: Path,
    actions: dict[str, Action],
    *,
    user: int | None = None,
    refused: Refused | None = None,
    device: Any = "cpu",
    settings: ContainmentSettings = SETTINGS,
    memory_bytes: int = 4 << 30,
) -> tuple[dict[Layer, str], dict[str, str]]:
    """How each action ends in a confined child, after the layers that are on."""
    read = (*libraries.readable(), str(folder / "text"))
    access = Access(read=read, write=(str(folder / "work"),), device=device)

    def work() -> list[Any]:
        if refused is not None:
            kernel.call = refused
        layers = confine(access, settings, memory_bytes)
        return [layers, {name: outcome(action) for name, action in actions.items()}]

    found = in_child(work, user)
    assert isinstance(found, list), found
    return found[0], found[1]


def need(layers: dict[Layer, str], layer: Layer, word: str = "") -> None:
    if not containment.is_on(layers[layer]) or word not in layers[layer]:
        pytest.skip(f"{layer} on this machine: {layers[layer]}")


def raw(number: int, *arguments: int) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    result: int = library.syscall(ctypes.c_long(number), *(ctypes.c_long(argument) for argument in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result


def opened(path: object, flags: int) -> Action:
    return lambda: os.close(os.open(str(path), flags, 0o600))


def run_fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def run_thread() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def file_thefts(folder: Path) -> dict[str, Action]:
    secret = folder / "outside/secret"
    return {
        "read": opened(secret, os.O_RDONLY),
        "list": lambda: list((folder / "outside").iterdir()),
        "write": opened(secret, os.O_WRONLY),
        "create": opened(folder / "outside/new", os.O_WRONLY | os.O_CREAT),
        "create a folder": (folder / "outside/new").mkdir,
        "delete": secret.unlink,
        "move away": lambda: secret.rename(folder / "work/stolen"),
        "move over": lambda: (folder / "work/own").rename(secret),
        "link": lambda: (folder / "work/linked").hardlink_to(secret),
        "empty a readable file": opened(folder / "text", os.O_RDONLY | os.O_TRUNC),
        "write a readable file": opened(folder / "text", os.O_WRONLY),
        "read passwd": opened("/etc/passwd", os.O_RDONLY),
        "read environ": opened("/proc/self/environ", os.O_RDONLY),
        "read the parent's memory": opened(f"/proc/{os.getpid()}/mem", os.O_RDONLY),
        "list /": lambda: list(Path("/").iterdir()),
        "list processes": lambda: list(Path("/proc").iterdir()),
        "shared memory": opened("/dev/shm/new", os.O_RDWR | os.O_CREAT),
    }


def socket_attempts() -> dict[str, Action]:
    families = {"IPv4": 2, "IPv6": 10, "unix": 1, "netlink": 16, "packet": 17, "vsock": 40, "crypto": 38}
    attempts: dict[str, Action] = {
        f"{name} {kind}": (lambda family=family, kind=kind: socket.socket(family, kind))
        for name, family in families.items()
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW)
    }
    return attempts | {"MPTCP": lambda: socket.socket(2, socket.SOCK_STREAM, 262), "pair": socket.socketpair}
