from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replication.containment import LAYERS, Access, ContainmentSettings, is_on, launcher, readable_libraries
from replication.sandbox import bubblewrap, libraries
from replication.settings import InputError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")
SETTINGS = ContainmentSettings(
    confine=True, minimum=(), bubblewrap="always", threads=40, file_mib=1.0, scratch_mib=100.0, open_files=64
)
# Run inside: the layers that a forked child reports, with some refused by the kernel; and what it then can do.
INSIDE = """
import errno, json, os, socket, sys
from pathlib import Path
from replication import containment
from replication.sandbox import kernel
refused, secret, work = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
original = kernel.call
def call(name, *arguments):
    if name in refused:
        raise OSError(errno.ENOSYS, "")
    return original(name, *arguments)
kernel.call = call
settings = containment.ContainmentSettings(
    confine=True, minimum=(), bubblewrap="always", threads=40, file_mib=1.0, scratch_mib=100.0, open_files=64
)
access = containment.Access(read=containment.readable_libraries(), write=(str(work),), device="cpu")
layers = containment.confine(access, settings, 4 << 30)
(work / "written").write_text("x")
def reaches(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1)
    except OSError:
        return False
    return True
told = {
    "layers": layers, "secret": secret.exists(), "network": reaches(int(sys.argv[5])),
    "processes": Path("/proc/1").exists(), "pid": os.getpid(),
}
inherited = socket.socket(fileno=int(sys.argv[4]))
inherited.sendall(json.dumps(told).encode())
inherited.recv(1)
"""


def need_bubblewrap() -> None:
    refusal = bubblewrap.refusal()
    if refusal is not None:
        pytest.skip(f"bubblewrap: {refusal}")


def tell(folder: Path, refused: list[str]) -> dict[str, Any]:
    """What a confined process inside bubblewrap sees, and whether its number is its number outside."""
    work, secret = folder / "work", folder / "secret"
    work.mkdir()
    secret.write_text("secret")
    access = Access(read=readable_libraries(), write=(str(work),), device="cpu")
    ours, theirs = socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server, ours:
        with theirs:
            arguments = [
                json.dumps(refused),
                str(secret),
                str(work),
                str(theirs.fileno()),
                str(server.getsockname()[1]),
            ]
            process = subprocess.Popen(
                [*launcher(SETTINGS, access), sys.executable, "-P", "-c", INSIDE, *arguments],
                env={"PYTHONPATH": str(libraries.PROJECT)},
                cwd=work,
                pass_fds=[theirs.fileno()],
                stderr=subprocess.PIPE,
                text=True,
            )
        told = ours.recv(1 << 20)
        runs = bool(told) and Path(f"/proc/{json.loads(told)['pid']}").exists()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    found: dict[str, Any] = json.loads(told)
    return found | {"runs": runs, "written": (work / "written").exists()}


@pytest.mark.parametrize("refused", [[], ["landlock_create_ruleset", "seccomp", "unshare"]], ids=["with", "alone"])
def test_inside_bubblewrap_only_what_was_granted_is_there(refused: list[str], tmp_path: Path) -> None:
    need_bubblewrap()
    told = tell(tmp_path, refused)
    assert (told["secret"], told["network"], told["processes"]) == (False, False, False)
    assert (told["written"], told["runs"]) == (True, True)
    layers = told["layers"]
    assert layers["files"].endswith("bubblewrap")
    assert layers["network"].startswith("bubblewrap, ")
    if refused:
        assert layers["files"] == "bubblewrap"
        assert layers["network"] == "bubblewrap, unix sockets can be reached"
        assert [layer for layer in LAYERS if not is_on(layers[layer])] == ["signals", "system_calls"]


ACCESS = Access(read=(), write=(), device="cpu")


@pytest.mark.parametrize(
    ("choice", "lacks", "refusal", "used"),
    [
        ("never", True, None, False),
        ("auto", False, None, False),
        ("auto", True, None, True),
        ("auto", True, "not installed", False),
        ("always", False, None, True),
    ],
)
def test_bubblewrap_is_used_where_it_adds_a_layer_or_is_asked_for(
    choice: Any, lacks: bool, refusal: str | None, used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bubblewrap, "kernel_lacks_a_layer", lambda: lacks)
    monkeypatch.setattr(bubblewrap, "refusal", lambda: refusal)
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: f"/usr/bin/{name}")
    line = launcher(dataclasses.replace(SETTINGS, bubblewrap=choice), ACCESS)
    assert (line[:1] == ["/usr/bin/bwrap"]) == used
    assert not used or line[-1] == "--"


def test_asking_for_bubblewrap_that_is_not_there_is_an_error_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"^engine\.containment\.bubblewrap=always: bwrap is not installed"):
        launcher(SETTINGS, ACCESS)


def test_bubblewrap_that_may_make_no_namespace_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bwrap"
    program.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert bubblewrap.refusal() == "bwrap: setting up uid map: Permission denied"


def test_what_the_kernel_lacks_is_found_out_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    namespaces = [Path(f"/proc/self/ns/{name}").readlink() for name in ("user", "net", "ipc")]
    assert bubblewrap.kernel_lacks_a_layer() in (True, False)
    assert [Path(f"/proc/self/ns/{name}").readlink() for name in ("user", "net", "ipc")] == namespaces
