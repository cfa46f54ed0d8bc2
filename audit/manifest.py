"""What made a report: configuration, code, packages, machine, inputs and times."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from audit.finding import canonical_json
from replication.provenance import cpu_name, git_state
from replication.settings import InputError


def manifest(
    *,
    config: Mapping[str, Any],
    plan: Mapping[str, Any],
    registered_plan: str,
    command: Sequence[str],
    seeds: Sequence[int],
    inputs: Mapping[str, Path],
    project: Path,
    started: datetime,
    finished: datetime,
) -> dict[str, Any]:
    """The manifest of a session.

    config: the whole resolved configuration. plan: the decision plan (the audit's settings), kept with its sha256
    beside `registered_plan`, the sha256 it was registered with. inputs: what each file is, and where it lies; files
    are named by their last path part and identified by sha256. project: the folder whose git state is recorded.
    started, finished: aware datetimes.

    Raises:
        InputError: an input file that cannot be read.
    """
    commit, dirty = git_state(project)
    return {
        "config": config,
        "decision_plan": {
            "sha256": plan_sha256(plan),
            "registered_sha256": registered_plan,
            "as_registered": plan_sha256(plan) == registered_plan,
        },
        "command": list(command),
        "commit": commit,
        "dirty": dirty,
        "packages": package_versions(),
        "hardware": hardware(),
        "python": platform.python_version(),
        "os": platform.platform(),
        "seeds": list(seeds),
        "inputs": [
            {"what": what, "file": path.name, "sha256": _file_sha256(path)} for what, path in sorted(inputs.items())
        ],
        "started": _iso(started),
        "finished": _iso(finished),
    }


def plan_sha256(plan: Mapping[str, Any]) -> str:
    """sha256 of a decision plan in canonical JSON; two plans share it only if every setting is the same."""
    return hashlib.sha256(canonical_json(plan).encode("utf-8")).hexdigest()


def package_versions() -> dict[str, str]:
    """Name -> version of every installed distribution, so of every pin and of anything beside the pins."""
    found = {item.metadata["Name"]: item.version for item in importlib.metadata.distributions()}
    return dict(sorted((name, version) for name, version in found.items() if name))


def hardware() -> dict[str, Any]:
    """CPU model, logical cores (in all, and usable by this process), memory in bytes, names of the GPUs."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "memory_bytes": _memory_bytes(),
        "gpu": gpus,
    }


def _memory_bytes() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _file_sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _iso(moment: datetime) -> str:
    assert moment.tzinfo is not None, "times in the manifest are aware"
    return moment.astimezone(UTC).isoformat(timespec="seconds")
