"""The embedded corpus: real text that every installation already has.

It is the Python source of pinned, installed packages, byte by byte. Only `.py` files that the package's
RECORD lists are read, so nothing that was generated or added later gets in, and files that differ between
wheels of one version (build configuration, the top-level `__init__.py`) are left out, so that every platform
has the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from replication.corpus.build import Document, Source, check_fractions, split_of
from replication.corpus.encoding import ByteEncoder
from replication.corpus.shards import SPLITS
from replication.settings import InputError, require

DIGITS = b"0123456789"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What the pinned versions give; each field maps a split to its value."""

    files: dict[str, int]
    bytes: dict[str, int]
    sha256: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class EmbeddedSettings:
    """`packages` maps a distribution, whose import name is the same, to its exact version.

    `excluded_folders` and `excluded_files` are names anywhere below the package. `expected` is checked after
    building; null checks nothing (for other versions or rules of your own).
    """

    kind: Literal["embedded"]
    name: str
    packages: dict[str, str]
    excluded_folders: tuple[str, ...]
    excluded_files: tuple[str, ...]
    min_bytes: int
    max_bytes: int
    max_digit_share: float
    val_fraction: float
    test_fraction: float
    expected: Expected | None


def source(settings: EmbeddedSettings) -> Source:
    """Raises InputError where a package is missing or has another version than the one pinned."""
    check_fractions(settings.val_fraction, settings.test_fraction)
    require(bool(settings.packages), "corpus.packages: name at least one package")
    installed = {name: _installed_version(name, version) for name, version in settings.packages.items()}
    return Source(
        inputs=installed,
        packages=installed,
        encoder=ByteEncoder(),
        documents=lambda: _documents(settings),
        check=functools.partial(_check, settings),
    )


def _installed_version(name: str, pinned: str) -> str:
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError as error:
        message = f"corpus.packages.{name}: version {pinned} expected, none installed: pip install {name}=={pinned}"
        raise InputError(message) from error
    remedy = f"pip install {name}=={pinned}"
    require(
        installed == pinned,
        f"corpus.packages.{name}: version {pinned} expected, {installed} installed: {remedy}",
    )
    return installed


def _documents(settings: EmbeddedSettings) -> Iterator[Document]:
    paths = [path for name in settings.packages for path in _listed(name) if _wanted(path, settings)]
    seen: set[bytes] = set()
    for path in sorted(paths, key=lambda path: path.as_posix().encode()):
        try:
            data = Path(path.locate()).read_bytes()
        except FileNotFoundError as error:
            raise InputError(f"corpus.packages.{path.parts[0]}: {path} is listed in RECORD but not there") from error
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not settings.min_bytes <= len(data) <= settings.max_bytes:
            continue
        digits = len(data) - len(data.translate(None, DIGITS))
        digest = hashlib.sha256(data).digest()
        if digits > settings.max_digit_share * len(data) or digest in seen:
            continue
        seen.add(digest)
        name = path.as_posix()
        split = split_of(name.encode(), val_fraction=settings.val_fraction, test_fraction=settings.test_fraction)
        yield Document(text=_decoded(data, name), split=split, where=name)


def _listed(package: str) -> list[importlib.metadata.PackagePath]:
    files = importlib.metadata.distribution(package).files
    if files is None:
        raise InputError(f"corpus.packages.{package}: installed without a RECORD; install it with pip from a wheel")
    return [path for path in files if path.suffix == ".py" and path.parts[0] == package]


def _wanted(path: PurePosixPath, settings: EmbeddedSettings) -> bool:
    top_level_init = len(path.parts) == 2 and path.name == "__init__.py"
    in_excluded_folder = any(part in settings.excluded_folders for part in path.parts[:-1])
    return not (top_level_init or in_excluded_folder or path.name in settings.excluded_files)


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"corpus.packages.{name}: not UTF-8 at byte {error.start}") from error


def _check(settings: EmbeddedSettings, meta: dict[str, Any]) -> None:
    if settings.expected is None:
        return
    for split in SPLITS:
        found = meta["splits"][split]
        for field, value in (
            ("files", found["documents"]),
            ("bytes", found["bytes"]),
            ("sha256", found["sha256"]),
        ):
            recorded = getattr(settings.expected, field).get(split)
            if value != recorded:
                packages = " ".join(f"{name}=={version}" for name, version in settings.packages.items())
                raise InputError(
                    f"corpus.expected.{field}.{split}: {recorded} recorded, {value} found, though"
                    " the installed versions are the pinned ones: their files were altered"
                    f" (pip install --force-reinstall --no-deps {packages}) or the selection rules were"
                    " (then set corpus.expected=null)"
                )
