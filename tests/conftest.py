"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ["TRITON_INTERPRET"] = "1"  # before anything defines a Triton kernel: Triton looks at it then


@pytest.fixture(scope="session")
def published_root() -> Path:
    """The published data folder; tests that audit it are left out, with the reason, where it is not at hand."""
    root = os.environ.get("ARCHAUDIT_PUBLISHED")
    if not root:
        pytest.skip("ARCHAUDIT_PUBLISHED is not set: no published data folder on this machine")
    return Path(root)
