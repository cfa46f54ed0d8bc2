"""Which form of an operator serves a call.

`naive` defines the maths, `chunk` is plain PyTorch, `triton` our GPU kernels, `fla` those of
flash-linear-attention. "auto" is `chunk` on a CPU, and on a GPU the first of `triton`, `fla` and `chunk` that the
operator has and that can serve the call. An explicit backend that cannot is an error, never something else
instead.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Backend = Literal["auto", "naive", "chunk", "triton", "fla"]
BACKENDS = ("naive", "chunk", "triton", "fla")
# Plain constants, because torch.compile reads them as such.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton itself reads it once, where a kernel is defined
_NO_TRITON = None if importlib.util.find_spec("triton") else "triton is not installed"


def _missing_fla() -> str | None:
    try:  # by its metadata: stand-ins of the same module name may be in place
        importlib.metadata.version("flash-linear-attention")
    except importlib.metadata.PackageNotFoundError:
        return "flash-linear-attention is not installed (the extra `gpu`)"
    return None


_NO_FLA = _missing_fla()
_order: tuple[str, ...] = ("triton", "fla", "chunk")
_told: set[tuple[str, str, str]] = set()


def choose_backend(operator: str, backend: str, x: Tensor, limits: Mapping[str, str | None] | None = None) -> str:
    """The form that serves a call: "naive", "chunk", "triton" or "fla".

    Args:
        operator: its name, for messages.
        backend: what the caller asked for.
        x: one of the arguments; its device decides.
        limits: the backends that the operator has besides naive and chunk, each with None, or why it cannot
            serve a call of these shapes and dtypes.

    Raises ValueError for an unknown backend, or an explicit one that cannot serve the call.
    """
    limits = limits or {}
    if backend == "auto":
        return _choose(operator, x, limits)
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of auto, {', '.join(BACKENDS)}, not {backend!r}")
    reason = _reason(operator, backend, x, limits)
    if reason is not None:
        raise ValueError(f"backend {backend!r} cannot serve this call of {operator}: {reason}")
    return backend


def _choose(operator: str, x: Tensor, limits: Mapping[str, str | None]) -> str:
    order = () if x.device.type == "cpu" else _order
    chosen = next((each for each in order if _reason(operator, each, x, limits) is None), "chunk")
    if not torch.compiler.is_compiling():
        key = (operator, str(x.device), chosen)
        if key not in _told:
            _told.add(key)
            log.info("%s on %s: backend %s", operator, x.device, chosen)
    return chosen


def _reason(operator: str, backend: str, x: Tensor, limits: Mapping[str, str | None]) -> str | None:
    """Why a backend cannot serve a call, or None."""
    if backend in ("naive", "chunk"):
        return None
    if backend not in limits:
        return f"{operator} has no such form"
    missing = _NO_TRITON if backend == "triton" else _NO_FLA
    if missing is not None:
        return missing
    if x.device.type != "cuda" and not (backend == "triton" and INTERPRETED):
        hint = "; TRITON_INTERPRET=1 runs Triton kernels on a CPU, slowly" if backend == "triton" else ""
        return f"it needs a CUDA device, not {x.device.type}{hint}"
    return limits[backend]


@contextlib.contextmanager
def auto_order(*order: str) -> Iterator[None]:
    """Within it, "auto" on a GPU tries these backends in this order, then chunk. For benchmarks and tests."""
    global _order
    before, _order = _order, order
    try:
        yield
    finally:
        _order = before
