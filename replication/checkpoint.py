"""The file in which a run in progress keeps what it has."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from replication.durable import write_atomic
from replication.ledger import writing


class Checkpoint:
    """The file in which a run in progress keeps what it has; a checksum stands in front. The workers never see it."""

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        self._path, self._warn = path, warn

    def save(self, state: bytes) -> None:
        """Replace the checkpoint. It saves time and decides nothing: a full disk is left to the ledger to find."""
        with contextlib.suppress(OSError):
            write_atomic(self._path, hashlib.sha256(state).digest() + state)

    def load(self) -> np.ndarray | None:
        """What `save` was given, uint8; None where there is nothing, or nothing that is whole."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self.drop(f"cannot be read: {error.strerror}")
            return None
        if len(data) < 32 or hashlib.sha256(data[32:]).digest() != data[:32]:
            self.drop("is damaged")
            return None
        return np.frombuffer(data, dtype=np.uint8)[32:]

    def drop(self, why: str) -> None:
        """Say why it cannot be used, and delete it."""
        self._warn(f"{self._path} {why}; the run starts again from step 0")
        with writing(self._path):
            self._path.unlink(missing_ok=True)
