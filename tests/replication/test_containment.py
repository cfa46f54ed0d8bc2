"""Each layer is tried by what it forbids, in a forked child: as this user, and if that is root, as an ordinary one."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replication import containment
from replication.configure import configure
from replication.containment import LAYERS, Access, Layer, confine
from replication.sandbox import kernel, landlock
from tests.replication.confined import (
    FORBIDDEN_CALLS,
    SETTINGS,
    TRIED,
    USERS,
    Action,
    Refused,
    file_thefts,
    in_child,
    need,
    opened,
    raw,
    run_fork,
    run_thread,
    socket_attempts,
    tried,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")


@pytest.mark.parametrize("user", USERS)
def test_what_a_candidate_needs_is_allowed(folder: Path, user: int | None) -> None:
    ours, theirs = socket.socketpair()
    work = folder / "work"

    def talk() -> None:
        theirs.sendall(b"x")
        assert theirs.recv(1) == b"y"

    ours.sendall(b"y")
    actions: dict[str, Action] = {
        "read": opened(folder / "text", os.O_RDONLY),
        "read a library": opened(Path(np.__file__).with_name("version.py"), os.O_RDONLY),
        "write": opened(work / "new", os.O_RDWR | os.O_CREAT | os.O_TRUNC),
        "rename": lambda: os.replace(work / "new", work / "newer"),
        "folder": (work / "folder").mkdir,
        "move": lambda: (work / "newer").rename(work / "folder/newer"),
        "delete": (work / "folder/newer").unlink,
        "list": lambda: list(work.iterdir()),
        "thread": run_thread,
        "signal to itself": lambda: os.kill(os.getpid(), 0),
        "map memory": lambda: mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close(),
        "random": lambda: os.urandom(8),
        "sleep": lambda: time.sleep(0.001),
        "multiply": lambda: np.ones((64, 64)) @ np.ones((64, 64)),
        "pipe": os.pipe,
        "socket it was given": talk,
    }
    layers, outcomes = tried(folder, actions, user=user)
    assert set(outcomes.values()) == {"done"}, outcomes
    assert ours.recv(1) == b"x"
    assert layers["limits"].startswith("memory, ")


@pytest.mark.parametrize("user", USERS)
def test_files_outside_what_was_granted_are_out_of_reach(folder: Path, user: int | None) -> None:
    layers, outcomes = tried(folder, file_thefts(folder), user=user)
    need(layers, "files")
    assert set(outcomes.values()) <= {"EACCES", "EPERM", "EXDEV"}, outcomes
    assert (folder / "outside/secret").read_text() == (folder / "text").read_text() == TRIED


@pytest.mark.parametrize("abi", range(1, 8))
def test_landlock_alone_keeps_files_out_of_reach_by_the_abi_of_the_kernel(folder: Path, abi: int) -> None:
    refused = Refused({"seccomp": errno.EINVAL, "unshare": errno.EPERM}, abi)
    actions = file_thefts(folder)
    if abi < 3:
        del actions["empty a readable file"]  # the filter forbids it on such a kernel
    layers, outcomes = tried(folder, actions, refused=refused)
    need(layers, "files")
    assert set(outcomes.values()) <= {"EACCES", "EPERM", "EXDEV"}, outcomes
    found = int(re.findall(r"\d+", layers["files"])[0])
    assert found == min(abi, landlock.abi())
    assert containment.is_on(layers["signals"]) == (found >= 6)


@pytest.mark.parametrize("user", USERS)
def test_links_modes_owners_and_times_cannot_be_changed(folder: Path, user: int | None) -> None:
    own = folder / "work/own"
    layers, outcomes = tried(
        folder,
        {
            "symbolic link": lambda: (folder / "work/link").symlink_to("/etc/passwd"),
            "pipe": lambda: os.mkfifo(folder / "work/pipe"),
            "mode": lambda: own.chmod(0o777),
            "owner": lambda: os.chown(own, os.getuid(), -1),
            "times": lambda: os.utime(own),
            "attribute": lambda: os.setxattr(own, "user.x", b""),
            "length by path": lambda: os.truncate(own, 1),
            "emptied while read": opened(own, os.O_RDONLY | os.O_TRUNC),
            "emptied by neither": opened(own, os.O_ACCMODE | os.O_TRUNC),
        },
        user=user,
    )
    need(layers, "system_calls")
    assert set(outcomes.values()) == {"EPERM"}, outcomes
    assert own.read_text() == TRIED


@pytest.mark.parametrize("user", USERS)
def test_no_other_process_can_be_signalled_and_the_group_cannot_be_left(folder: Path, user: int | None) -> None:
    parent, group = os.getpid(), os.getpgrp()
    ours, _theirs = socket.socketpair()
    layers, outcomes = tried(
        folder,
        {
            "kill": lambda: os.kill(parent, 0),
            "kill a group": lambda: os.killpg(group, 0),
            "kill the own group": lambda: os.kill(0, 0),
            "session": os.setsid,
            "group": lambda: os.setpgid(0, 0),
            "owner of signals": lambda: fcntl.fcntl(ours, fcntl.F_SETOWN, parent),
            "owner by ioctl": lambda: fcntl.ioctl(ours, 0x8901, parent.to_bytes(4, "little")),
            "limits of another": lambda: resource.prlimit(parent, resource.RLIMIT_CORE),
            "processors of another": lambda: os.sched_setaffinity(parent, {0}),
            "outlive the parent": lambda: kernel.call("prctl", 1, 0, 0, 0, 0),
        },
        user=user,
    )
    need(layers, "system_calls")
    assert set(outcomes.values()) == {"EPERM"}, outcomes


@pytest.mark.parametrize("user", USERS)
def test_landlock_alone_keeps_signals_in(folder: Path, user: int | None) -> None:
    parent = os.getpid() if user is None else os.getppid()
    refused = Refused({"seccomp": errno.EINVAL})
    layers, outcomes = tried(
        folder, {"kill": lambda: os.kill(parent, 0), "own": lambda: os.kill(os.getpid(), 0)}, refused=refused, user=user
    )
    need(layers, "signals")
    assert outcomes == {"kill": "EPERM", "own": "done"}


@pytest.mark.parametrize("user", USERS)
def test_no_process_program_or_socket_can_be_made(folder: Path, user: int | None) -> None:
    column = kernel.machine()
    assert column is not None
    actions: dict[str, Action] = {
        "fork": os.fork,
        "program": lambda: os.execv("/bin/true", ["true"]),
        "clone": lambda: raw((56, 220)[column], signal.SIGCHLD, 0, 0, 0, 0),
        **socket_attempts(),
        **{name: (lambda numbers=numbers: raw(numbers[column])) for name, numbers in FORBIDDEN_CALLS.items()},
    }
    layers, outcomes = tried(folder, actions | {"clone3": lambda: raw(435)}, user=user)
    need(layers, "system_calls")
    assert outcomes.pop("clone3") == "ENOSYS"
    assert set(outcomes.values()) == {"EPERM"}, outcomes


def test_calls_of_another_architecture_kill(folder: Path) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("int 0x80 is x86's")
    layers, _ = tried(folder, {})
    need(layers, "system_calls")

    def work() -> None:
        confine(Access(read=(), write=(), device="cpu"), SETTINGS, 4 << 30)
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        code = mmap.mmap(-1, 4096, flags=private, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid of i386); int 0x80; ret
        ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()

    assert in_child(work, None) in (f"signal {signal.SIGSYS}", f"signal {signal.SIGSEGV}")


@pytest.mark.parametrize("user", USERS)
def test_an_own_network_reaches_nothing_even_without_the_other_layers(folder: Path, user: int | None) -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    refused = Refused({"seccomp": errno.EINVAL, "landlock_create_ruleset": errno.ENOSYS})
    actions: dict[str, Action] = {
        "send": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port))
    }
    layers, outcomes = tried(folder, actions, user=user, refused=refused)
    need(layers, "network", "namespace")
    assert outcomes == {"send": "ENETUNREACH"}
    assert layers["network"].endswith("unix sockets can be reached")
    _, outcomes = tried(folder, actions, user=user, refused=Refused({**refused.codes, "unshare": errno.EPERM}))
    assert outcomes == {"send": "done"}  # so it was the namespace


@pytest.mark.parametrize("user", USERS)
def test_limits_hold_memory_file_size_files_and_threads(folder: Path, user: int | None) -> None:
    def write() -> None:
        with (folder / "work/large").open("wb", buffering=0) as file:
            for _ in range(3):
                file.write(bytes(1 << 20))

    def many_threads() -> None:
        threading.stack_size(1 << 18)  # so that memory is not what runs out
        done = threading.Event()
        threads = [threading.Thread(target=done.wait) for _ in range(2 * SETTINGS.threads)]
        try:
            for thread in threads:
                thread.start()
        finally:
            done.set()

    actions: dict[str, Action] = {
        "memory": lambda: bytearray(8 << 30),
        "file": write,
        "files": lambda: [os.dup(0) for _ in range(100)],
        "more memory": lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, 1 << 40)),
    }
    layers, outcomes = tried(folder, {**actions, "threads": many_threads}, user=user, memory_bytes=4 << 30)
    threads = outcomes.pop("threads")
    assert outcomes.pop("more memory") == "not allowed to raise maximum limit"
    assert outcomes == {"memory": "MemoryError", "file": "EFBIG", "files": "EMFILE"}
    assert (threads == "can't start new thread") == ("threads" in layers["limits"])
    assert (folder / "work/large").stat().st_size == 1 << 20


@pytest.mark.parametrize("user", USERS)
def test_no_right_is_left_and_the_process_still_dies_with_its_parent(folder: Path, user: int | None) -> None:
    def work() -> list[Any]:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        with Path("/proc/self/status").open() as status:
            layers = confine(Access(read=(), write=(), device="cpu"), SETTINGS, 4 << 30)
            text = status.read()
        death = ctypes.c_int()
        ctypes.CDLL(None).prctl(2, ctypes.byref(death))
        return [layers, text, death.value, os.getuid(), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)]

    layers, text, death, uid, dumpable = in_child(work, user)
    need(layers, "privileges")
    told = dict(re.findall(r"^(\w+):\s+(\S+)", text, flags=re.M))
    assert {told[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert told["CapBnd"] == "0" * 16 or "user" not in layers["network"]
    assert told["NoNewPrivs"] == "1"
    assert (death, uid, dumpable) == (signal.SIGKILL, os.getuid() if user is None else user, 0)


@pytest.mark.parametrize(
    ("call", "code", "off", "reason"),
    [
        ("landlock_create_ruleset", errno.ENOSYS, "files", "off: Landlock is not in this kernel"),
        ("landlock_create_ruleset", errno.EOPNOTSUPP, "files", "off: Landlock is switched off in this kernel"),
        ("seccomp", errno.EINVAL, "system_calls", "off: seccomp is not in this kernel"),
        ("seccomp", errno.EPERM, "system_calls", "off: seccomp is forbidden on this machine"),
        ("capset", errno.EPERM, "privileges", "off: dropping privileges is forbidden on this machine"),
    ],
)
def test_a_layer_that_the_kernel_refuses_is_off_with_the_reason_and_the_others_stay_on(
    folder: Path, call: str, code: int, off: Layer, reason: str
) -> None:
    whole, _ = tried(folder, {})
    layers, outcomes = tried(
        folder,
        {"read": opened(folder / "outside/secret", os.O_RDONLY), "fork": run_fork},
        refused=Refused({call: code}),
    )
    assert layers[off] == reason
    assert {layer for layer in LAYERS if containment.is_on(layers[layer])} == {
        layer for layer in LAYERS if containment.is_on(whole[layer])
    } - {off}
    assert (outcomes["read"] == "done") == (off == "files" or not containment.is_on(whole["files"]))
    assert (outcomes["fork"] == "done") == (off == "system_calls" or not containment.is_on(whole["system_calls"]))


def test_without_namespaces_the_filter_is_what_keeps_the_network_away(folder: Path) -> None:
    no_namespaces = {"unshare": errno.EPERM}
    layers, _ = tried(folder, {}, refused=Refused(no_namespaces))
    need(layers, "system_calls")
    assert layers["network"] == "no sockets (seccomp)"
    bare, _ = tried(folder, {}, refused=Refused({**no_namespaces, "seccomp": errno.EINVAL}))
    assert bare["network"] == "off: an own network is forbidden on this machine"


def test_with_neither_filter_nor_scope_the_signals_are_off(folder: Path) -> None:
    layers, _ = tried(folder, {}, refused=Refused({"seccomp": errno.EINVAL}, abi=5))
    assert layers["signals"].startswith("off: seccomp is not in this kernel, ")


def test_root_gets_an_own_network_where_user_namespaces_are_forbidden(folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root")
    original = kernel.call

    def call(name: str, *arguments: int) -> int:
        if name == "unshare" and arguments[0] & 0x10000000:
            raise OSError(errno.EPERM, "")
        return original(name, *arguments)

    refused = Refused({})
    refused.original = call
    layers, _ = tried(folder, {}, refused=refused)
    need(layers, "network", "namespace")
    assert layers["network"].startswith("network namespace")


def test_a_gpu_process_may_start_compilers_and_no_other_program(folder: Path) -> None:
    compiler = shutil.which("gcc", path="/usr/bin")
    if compiler is None:
        pytest.skip("needs gcc")
    work = folder / "work"
    (work / "one.c").write_text("int one(void) { return 1; }\n")

    def compile_one() -> None:
        os.environ["TMPDIR"] = str(work)
        line = [compiler, "-shared", "-fPIC", "-o", str(work / "one.so"), str(work / "one.c")]
        subprocess.run(line, check=True)
        assert ctypes.CDLL(str(work / "one.so")).one() == 1

    layers, outcomes = tried(
        folder, {"compile": compile_one, "other": lambda: subprocess.run(["/bin/ls"], check=True)}, device="cuda"
    )
    need(layers, "files")
    assert outcomes == {"compile": "done", "other": "EACCES"}
    assert "memory" not in layers["limits"]


def test_the_text_of_the_embedded_corpus_cannot_be_read(folder: Path) -> None:
    packages = configure([]).resolved["corpus"]["packages"]
    texts = [Path(find_spec(name).origin or "") for name in packages]  # type: ignore[union-attr]
    layers, outcomes = tried(folder, {text.parent.name: opened(text, os.O_RDONLY) for text in texts})
    need(layers, "files")
    assert all(text.exists() for text in texts)
    assert outcomes == dict.fromkeys(packages, "EACCES")
