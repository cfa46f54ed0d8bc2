from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import numpy
import pytest
import torch

from replication.sandbox import libraries

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")


def is_readable(path: str | Path | None) -> bool:
    assert path is not None
    absolute = Path(path)
    return any(absolute == Path(folder) or Path(folder) in absolute.parents for folder in libraries.readable())


def test_what_candidates_import_is_readable() -> None:
    assert is_readable(torch.__file__)
    assert is_readable(numpy.__file__)
    assert is_readable(json.__file__)
    assert is_readable(sysconfig.get_config_var("DESTSHARED") or os.__file__)
    assert is_readable(find_spec("sympy").origin)  # type: ignore[union-attr]  # required by torch, imported when it is used
    assert is_readable(libraries.PROJECT / "replication/compat/fla.py")
    assert is_readable(libraries.PROJECT / "kernels")


@pytest.mark.parametrize("name", ["scipy", "statsmodels", "pandas", "pytest", "hydra"])
def test_other_packages_are_not_readable(name: str) -> None:
    spec = find_spec(name)
    assert spec is not None
    assert not is_readable(spec.origin)


def test_no_folder_of_packages_and_nothing_else_of_the_project_is_readable() -> None:
    for name in ("purelib", "platlib"):
        assert not is_readable(sysconfig.get_path(name))
    for name in ("", "conf", "results", "audit", "tests", ".git"):
        assert not is_readable(libraries.PROJECT / name)
    for path in (Path.home(), "/etc/passwd", "/proc", "/sys", "/tmp", "/"):
        assert not is_readable(path)


def test_the_corpus_is_not_readable_even_where_an_allowed_package_requires_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = importlib.metadata.requires

    def requires(name: str) -> list[str] | None:
        return ["scipy>=1", "statsmodels", "filelock"] if name == "einops" else original(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    libraries.readable.cache_clear()
    try:
        assert not is_readable(find_spec("scipy").origin)  # type: ignore[union-attr]
        assert is_readable(find_spec("filelock").origin)  # type: ignore[union-attr]
    finally:
        libraries.readable.cache_clear()


def test_only_folders_that_imports_search_can_be_listed() -> None:
    listable = libraries.listable([*libraries.readable(), "/etc/x", str(libraries.PROJECT / "kernels")])
    assert sysconfig.get_path("purelib") in listable
    assert listable <= set(sys.path) - {str(libraries.PROJECT)}
