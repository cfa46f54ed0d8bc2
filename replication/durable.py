"""Writes that are there whole or not at all, also after a power cut, and locks between processes and machines."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a file system without locks answers


def write_synced(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a new file, with these rights where the umask allows them, and force it to the disk."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_atomic(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Replace a file by `data`: readers see the old content or the new, never a part. Raises OSError."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_synced(part, data, mode)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_new(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file whole, unless it is there: of several that do this at once, one wins for good. Raises OSError."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_synced(part, data, mode)
        try:
            os.link(part, path)
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            part.rename(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def seal(document: Mapping[str, Any]) -> str:
    """sha256 of a JSON document but for its own key "seal": what a disk has altered since is not believed."""
    rest = {name: value for name, value in document.items() if name != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def exclusive(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock file `path`. Where another process holds it, wait for that one, or yield False at once.

    Some network and FUSE mounts have no locks, or only some between processes of one machine. Everybody holds them
    then: two machines may do the same work at once, and what they write must bear that. Raises OSError.
    """
    # Its own stand-in for missing locks would be held for ever by a machine that was switched off.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield True
    finally:
        lock.release()


def sync_folder(path: Path) -> None:
    """Force a directory's entries to the disk."""
    if os.name == "nt":  # Windows cannot open a folder for fsync; its renames are journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
