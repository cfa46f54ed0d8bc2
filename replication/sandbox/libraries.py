"""What a candidate may read besides its own folder: the libraries that it may import, and no other package's text.

The embedded corpus is the source code of installed packages, so a whole site-packages would give its test text away.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
MACHINE = ("/proc/cpuinfo", "/sys/devices/system/cpu")  # by which PyTorch chooses its kernels; /proc tells too much
_IMPORTED = ("torch", "numpy", "einops", "triton", "fla", "transformers", "typing_extensions")
_DISTRIBUTIONS = ("torch", "numpy", "einops", "triton", "flash-linear-attention", "transformers", "typing-extensions")
_CORPUS = ("scipy", "statsmodels")  # never, whoever requires them
_SITES = ("site-packages", "dist-packages")


@functools.cache
def readable() -> tuple[str, ...]:
    """Existing files and folders: system libraries, standard library, allowed packages, kernels/ and replication/."""
    found = [*_system_libraries(), *_standard_library(), *_packages(), PROJECT / "kernels", PROJECT / "replication"]
    return tuple(dict.fromkeys(str(path) for path in found if path.exists()))


def listable(read: Iterable[str]) -> set[str]:
    """Folders in which imports look for `read`: their entries may be listed, which tells names and no content."""
    return {os.path.dirname(path) for path in read}.intersection(sys.path) - {str(PROJECT)}  # noqa: PTH120 (300 paths)


def _system_libraries() -> list[Path]:
    """Folders of shared libraries without the Python packages in them, and the loader's index of them."""
    folders = [Path(prefix) / name for prefix in (sys.base_prefix, "/usr", "/") for name in ("lib", "lib64")]
    found = [Path("/etc/ld.so.cache")]
    for folder in dict.fromkeys(folder for folder in folders if folder.is_dir() and not folder.is_symlink()):
        inside = list(folder.iterdir())
        python = [path for path in inside if path.name.startswith("python")]
        found += [path for path in inside if path not in python] if python else [folder]
    return found


def _standard_library() -> list[Path]:
    folders = dict.fromkeys(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    return [path for folder in folders for path in folder.iterdir() if path.name not in _SITES]


def _packages() -> list[Path]:
    """Everything that the allowed packages and what they require have installed."""
    found = []
    for name in _IMPORTED:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            found.append(origin.parent if origin.name == "__init__.py" else origin)
    for name in _required():
        distribution = importlib.metadata.distribution(name)
        record = distribution.read_text("RECORD") or ""
        tops = {re.split(r"[/,]", line)[0] for line in record.splitlines()} - {"", "..", "__pycache__"}
        found += [Path(str(distribution.locate_file(top))) for top in sorted(tops)]
    return found


def _required() -> list[str]:
    """Distributions that are installed here, of the allowed ones and all that they require; extras are left out."""
    waiting = list(_DISTRIBUTIONS)
    known: dict[str, None] = {}
    while waiting:
        name = waiting.pop()
        if name in known or name in _CORPUS:
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        known[name] = None
        for line in requires:
            match = re.match(r"[A-Za-z0-9._-]+", line)
            if match and "extra ==" not in line:
                waiting.append(re.sub(r"[-_.]+", "-", match[0]).lower())
    return list(known)
