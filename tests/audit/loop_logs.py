"""What the tests of loop logs share: files with any content, and readers that may refuse them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings

from audit.single_seed.log import LoopLog
from replication.settings import InputError

FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def saved(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_or_refused(read: Callable[[], LoopLog]) -> LoopLog | None:
    """The log that `read` gives; None where it was refused, which must take one line."""
    try:
        return read()
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    return None
