"""Where numbers come from: code, versions, hardware."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
# The sources that decide the numbers of a run; candidates have a hash of their own.
NUMERIC_SOURCES = (
    "kernels/*/*.py",
    "kernels/arguments.py",
    "kernels/backends.py",
    "kernels/chunks.py",
    "replication/answer.py",
    "replication/candidate.py",
    "replication/compat/*.py",
    "replication/corpus/__init__.py",  # which positions count
    "replication/corpus/batches.py",
    "replication/corpus/recall.py",
    "replication/environment.py",
    "replication/evaluate.py",
    "replication/exchange.py",
    "replication/hidden.py",
    "replication/host_state.py",
    "replication/initialise.py",
    "replication/joint.py",
    "replication/leaks/clean.py",  # the one module of ours that candidates import besides kernels
    "replication/lift/**/*.py",
    "replication/measure.py",
    "replication/mixers.py",
    "replication/model.py",
    "replication/precision.py",
    "replication/program.py",
    "replication/questions.py",
    "replication/remote.py",
    "replication/step.py",
    "replication/train.py",
    "replication/trainer.py",
    "replication/worker.py",
)


@functools.cache
def code_sha256() -> str:
    """sha256 over the names and contents of NUMERIC_SOURCES: a run of other code is another run."""
    return files_sha256(sorted(path for pattern in NUMERIC_SOURCES for path in ROOT.glob(pattern)))


def files_sha256(paths: Iterable[Path]) -> str:
    """sha256 over names (relative to the project) and contents of `paths`, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def git_state(project: Path) -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the git work tree rooted at `project`; (None, None) where there is none, or no git."""
    root = _git(project, "rev-parse", "--show-toplevel")
    # An installed copy may lie inside somebody else's repository, whose commit says nothing about this code.
    if root is None or Path(root).resolve() != project.resolve():
        return None, None
    commit, changes = _git(project, "rev-parse", "HEAD"), _git(project, "status", "--porcelain")
    return commit, None if changes is None else bool(changes)


@functools.cache
def code_commit() -> str | None:
    """Commit that this code runs from, "+changes" added where the work tree differs from it; None outside git."""
    commit, dirty = git_state(ROOT)
    return f"{commit}+changes" if commit and dirty else commit


def _git(project: Path, *arguments: str) -> str | None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    try:
        result = subprocess.run(
            ["git", "-C", str(project), *arguments], capture_output=True, text=True, env=environment, check=False
        )
    except OSError:
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def version_of(package: str) -> str:
    """Installed version of a distribution, or "absent"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@functools.cache
def cpu_name() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@functools.cache
def hardware(device: str) -> str:
    """One line on what a run ran on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{cpu_name()}, {os.cpu_count()} cores"


def now() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
