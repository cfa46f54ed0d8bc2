"""Writes that are there whole or not at all, also after a power cut."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and force it to the disk."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file by `data`: readers see the old content or the new, never a part. Raises OSError."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_synced(part, data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Force a directory's entries to the disk."""
    if os.name == "nt":  # Windows cannot open a folder for fsync; its renames are journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
