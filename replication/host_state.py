"""State on the host, which a recorded step, since it runs no Python, would leave as it was."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from replication.program import SOURCE_NAME

_PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies. It is kept, without its history, so that no later one can lie there as well."""

    address: int
    shape: tuple[int, ...]
    changes: int | None  # times it was written into, if that is the host's work
    tensor: torch.Tensor = field(compare=False, repr=False)


def host_state(model: nn.Module) -> dict[str, object]:
    """Everything on the host that a call of the model may have changed, by name; equal where nothing changed.

    Covers attributes of the modules, the globals of candidates' code, and what lists, dicts, and objects and classes
    of that code hold. A tensor on the model's device counts as changed when another one takes its place: writing into
    it is the device's work. Variables that only closures hold are out of reach.
    """
    device = next(model.parameters()).device
    found: dict[str, object] = {}
    seen: set[int] = set()
    for path, submodule in model.named_modules():
        _collect(path, vars(submodule), device, found, seen)
        if _is_candidates(type(submodule)):
            name = type(submodule).__module__
            _collect(name, vars(sys.modules[name]), device, found, seen)
    return found


def host_generators(device: torch.device) -> tuple[object, ...]:
    """State of the generators of the host that a program may draw from, for a model on `device`."""
    _, keys, place, *_ = np.random.get_state(legacy=True)  # noqa: NPY002 - the one that programs call
    own = b"" if device.type == "cpu" else torch.get_rng_state().numpy().tobytes()
    return own, np.asarray(keys).tobytes(), place, random.getstate()


def _is_candidates(kind: type) -> bool:
    """Whether a class is defined by a candidate's code."""
    return str(getattr(sys.modules.get(kind.__module__), "__file__", "")).startswith(SOURCE_NAME)


def _collect(name: str, value: object, device: torch.device, found: dict[str, object], seen: set[int]) -> None:
    if isinstance(value, _PLAIN):
        found[name] = repr(value)  # as text: NaN is equal to NaN
    elif isinstance(value, torch.Tensor):
        changes = value._version if value.device != device else None
        found[name] = _Place(value.data_ptr(), tuple(value.shape), changes, value.detach())
    elif isinstance(value, np.ndarray):
        found[name] = value.tobytes()
    elif id(value) not in seen:
        seen.add(id(value))
        for key, part in _parts(value):
            _collect(f"{name}.{key}" if name else str(key), part, device, found, seen)


def _parts(value: object) -> Iterable[tuple[object, object]]:
    """What a container, or an object or class of a candidate's code, holds. `named_modules` has the modules."""
    if isinstance(value, list | tuple | Set | deque):
        return enumerate(value)
    if isinstance(value, Mapping):
        return [(key, part) for key, part in value.items() if not str(key).startswith("__")]
    own = value if isinstance(value, type) else type(value)
    if isinstance(value, nn.Module) or not _is_candidates(own) or not hasattr(value, "__dict__"):
        return ()
    return [(key, part) for key, part in vars(value).items() if not key.startswith("__")]
