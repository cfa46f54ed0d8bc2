"""Run a module of this project as an ordinary user, also where root's own folder holds the interpreter.

Run as a program, `python ordinary_user.py FOLDER MODULE [ARGUMENT ...]`, it is the half that gives root up.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

NOBODY = 65534
PROJECT = Path(__file__).resolve().parents[2]
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x00020000, 4096, 16384, 1 << 18


def why_not() -> str | None:
    """Why this process cannot become an ordinary user; None where it can."""
    if os.getuid() != 0:
        return "not root: the tests run as an ordinary user anyway"
    tried = subprocess.run([sys.executable, __file__, "--try"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no mount namespace here: {tried.stderr.strip()[-100:]}"


def run_as_ordinary_user(arguments: list[str], folder: Path) -> int:
    """Run `python -m ARGUMENTS` from the project's root as a user without rights, whose home `folder` becomes.

    Returns its exit code.
    """
    os.chown(folder, NOBODY, NOBODY)
    return subprocess.run([sys.executable, __file__, str(folder), *arguments], cwd=PROJECT, check=False).returncode


def _become_nobody(folder: str, arguments: list[str]) -> None:
    """Never returns."""
    _uncover([Path(path).resolve() for path in (sys.base_prefix, sys.prefix, PROJECT, folder)])
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    environment = {**os.environ, "HOME": folder, "TMPDIR": folder, "USER": "nobody", "LOGNAME": "nobody"}
    os.chdir(PROJECT)
    os.execve(sys.executable, [sys.executable, "-m", *arguments], environment)


def _uncover(needed: list[Path]) -> None:
    """In mounts of this process alone, put an open folder over each closed one on the way to what is needed."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    closed = {
        next((above for above in reversed(path.parents) if not above.stat().st_mode & 1), None) for path in needed
    }
    for cover in filter(None, closed):
        inside = [path for path in needed if cover in path.parents]
        held = [os.open(path, os.O_PATH) for path in inside]
        libc.mount(b"none", str(cover).encode(), b"tmpfs", 0, b"mode=755")
        for path, descriptor in zip(inside, held, strict=True):
            path.mkdir(parents=True)
            libc.mount(f"/proc/self/fd/{descriptor}".encode(), str(path).encode(), None, MS_BIND | MS_REC, None)
            os.close(descriptor)


if __name__ == "__main__":
    if sys.argv[1] == "--try":
        _uncover([])
    else:
        _become_nobody(sys.argv[1], sys.argv[2:])
