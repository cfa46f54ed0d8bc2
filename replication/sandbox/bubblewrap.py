"""bubblewrap (bwrap): the warm worker's own view of the file system and no network, where the kernel's layers lack.

Numbers of processes stay as they are outside, since the parent works with them.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from replication.sandbox.libraries import MACHINE, PROJECT

VARIABLE = "ARCHAUDIT_BUBBLEWRAP"  # set for what runs inside
_NAMESPACES = ("--unshare-user-try", "--unshare-ipc", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try")


@functools.cache
def kernel_lacks_a_layer() -> bool:
    """Whether this kernel, or this user's rights, leave out Landlock or own namespaces; tried in a short process."""
    code = "from replication.sandbox import landlock, namespaces; landlock.abi(); namespaces.enter()"
    return _run([sys.executable, "-P", "-c", code]).returncode != 0


def refusal() -> str | None:
    """Why bubblewrap cannot be used here; None where it can."""
    program = shutil.which("bwrap")
    return "bwrap is not installed (package bubblewrap)" if program is None else _failure(program)


@functools.cache
def _failure(program: str) -> str | None:
    tried = _run([program, *_NAMESPACES, "--ro-bind", "/", "/", "--dev", "/dev", "--", program, "--version"])
    return None if tried.returncode == 0 else " ".join(tried.stderr.split())[:200] or f"exit code {tried.returncode}"


def command(read: Sequence[str], write: Sequence[str], devices: Sequence[str]) -> list[str]:
    """The command line that a program's own follows: it sees `read`, may write to `write`, and nothing else is there.

    Args:
        devices: device files, and folders of the system that describe them.
    """
    program = shutil.which("bwrap")
    assert program is not None
    line = [program, *_NAMESPACES, "--die-with-parent", "--setenv", VARIABLE, "1", "--dev", "/dev", "--tmpfs", "/tmp"]
    for link in ("/lib", "/lib64", "/bin", "/sbin"):  # into /usr, on most systems
        if Path(link).is_symlink():
            line += ["--symlink", str(Path(link).readlink()), link]
    for path in (*_interpreter(), *MACHINE, *read):
        line += ["--ro-bind-try", path, path]
    for path in devices:
        line += ["--dev-bind-try", path, path]
    for path in write:
        line += ["--bind-try", path, path]
    return [*line, "--"]


def _interpreter() -> tuple[str, ...]:
    """What starts Python besides its libraries; a virtual environment has its own name for the program."""
    return sys.executable, str(Path(sys.executable).resolve()), str(Path(sys.prefix) / "pyvenv.cfg")


def _run(line: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        line, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
