"""Each layer is tried by what it forbids, in a forked child: as this user, and if that is root, as an ordinary one."""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import fcntl
import json
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
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from replication import containment
from replication.configure import configure
from replication.containment import LAYERS, Access, ContainmentSettings, Layer, checked_layers, confine, describe
from replication.sandbox import kernel, landlock, libraries
from replication.settings import InputError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")
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


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place that an ordinary user reaches: `work` to write in, `secret` to keep out of, `text` to read."""
    path = Path(tempfile.mkdtemp())
    for name in ("", "work", "outside"):
        (path / name).mkdir(exist_ok=True)
        (path / name).chmod(0o777)
    for name in ("outside/secret", "text", "work/own"):
        (path / name).write_text(TRIED)
        (path / name).chmod(0o666)
    yield path
    shutil.rmtree(path)


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
        "memory": lambda: bytearray(1 << 30),
        "file": write,
        "files": lambda: [os.dup(0) for _ in range(100)],
        "more memory": lambda: resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, 1 << 40)),
    }
    layers, outcomes = tried(folder, {**actions, "threads": many_threads}, user=user, memory_bytes=512 << 20)
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


def layers_with(**texts: str) -> dict[Layer, str]:
    layers: dict[Any, str] = dict.fromkeys(LAYERS, "on somehow") | texts
    return layers


def test_a_missing_layer_is_refused_only_where_it_is_demanded() -> None:
    told = layers_with(files="off: Landlock is not in this kernel", network="off: an own network is forbidden")
    assert checked_layers(told, SETTINGS) == told
    strict = dataclasses.replace(SETTINGS, minimum=LAYERS)
    assert checked_layers(layers_with(), strict) == layers_with()
    with pytest.raises(InputError) as refusal:
        checked_layers(told, strict)
    assert str(refusal.value) == (
        "engine.containment.minimum: the layer 'files' is off here (Landlock is not in this kernel); "
        "the layer 'network' is off here (an own network is forbidden); nothing was run"
    )


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        dict.fromkeys(LAYERS[1:], "on"),
        {**layers_with(), "more": "on"},
        layers_with(files=""),
        layers_with(files="x" * 201),
        layers_with(files="two\nlines"),
        {**layers_with(), "files": 1},
    ],
)
def test_a_malformed_answer_is_no_list_of_layers(told: object) -> None:
    with pytest.raises(ValueError, match="malformed"):
        checked_layers(told, SETTINGS)


def test_layers_are_described_in_one_line_with_the_missing_ones_last() -> None:
    line = describe(layers_with(limits="off: why", system_calls="seccomp filter"))
    assert line.startswith("privileges: on somehow; ")
    assert "system calls: seccomp filter" in line
    assert line.endswith("; limits: off: why")


def test_unconfined_says_so_of_every_layer(folder: Path) -> None:
    layers, outcomes = tried(folder, {"fork": run_fork}, settings=dataclasses.replace(SETTINGS, confine=False))
    assert set(layers) == set(LAYERS)
    assert set(layers.values()) == {"off: engine.containment.confine is false"}
    assert outcomes == {"fork": "done"}


def test_the_three_choices_of_confinement_are_in_the_configuration() -> None:
    def settings(name: str) -> ContainmentSettings:
        return configure([f"containment={name}"]).bench.engine.containment

    assert settings("default").minimum == ()
    assert settings("strict") == dataclasses.replace(settings("default"), minimum=LAYERS)
    assert (settings("default").confine, settings("off").confine) == (True, False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": 0}, "engine.containment.threads: must be above 0"),
        ({"confine": False, "minimum": ("files",)}, "engine.containment.confine: false"),
        ({"confine": False, "bubblewrap": "always"}, "engine.containment.confine: false"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        dataclasses.replace(SETTINGS, **change)
