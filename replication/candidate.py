"""A candidate: one source file with one token-mixer class, and the module it becomes in a model.

`Candidate` and `read_candidate` only handle text and are safe anywhere. From `build_mixer` on, the
candidate's own code runs, which belongs in worker processes.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from replication import compat
from replication.program import SOURCE_NAME, CandidateError, hard_codes_bfloat16, load_mixer_class
from replication.settings import InputError

__all__ = [
    "SOURCE_NAME",
    "Candidate",
    "CandidateError",
    "SearchScore",
    "build_mixer",
    "mix",
    "python_state",
    "read_candidate",
    "restore_python_state",
    "slug",
]

StateValue = int | float | bool | str | torch.Tensor | None


@dataclass(frozen=True, kw_only=True)
class SearchScore:
    """What the search that proposed a candidate measured. All losses are in `unit`, e.g. "nats per token"."""

    loss: float
    baseline_losses: dict[str, float]
    unit: str
    where: str


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One program to be judged. `role` is "baseline" or "candidate"; `origin` says which file it came from."""

    name: str
    label: str
    source: str
    role: str
    origin: str
    search: SearchScore | None

    @property
    def id(self) -> str:
        """sha256 of the source, in hex."""
        return hashlib.sha256(self.source.encode()).hexdigest()


def slug(text: str) -> str:
    """`text` in the letters a-z, digits and single underscores; empty if nothing is left."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def read_candidate(path: Path, role: str) -> Candidate:
    """The candidate in the file `path`, named after it. The text is not looked into.

    Raises:
        InputError: the file is missing, unreadable, empty or not UTF-8, or its name has no letter or digit.
    """
    try:
        source = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot read this candidate: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: this candidate is not UTF-8 text (byte {error.start})") from error
    if not source.strip():
        raise InputError(f"{path}: this candidate is empty")
    name = slug(path.stem)
    if not name:
        raise InputError(f"{path}: a candidate's file name needs a letter or a digit")
    return Candidate(name=name, label=path.stem, source=source, role=role, origin=path.name, search=None)


def build_mixer(source: str, *, hidden_size: int, num_heads: int, layer_idx: int) -> nn.Module:
    """The candidate's token mixer for one layer. Runs the candidate's code: for worker processes only.

    The module is the candidate's own, unwrapped, so its parameters keep the names their author gave them. What
    the candidate raises while it is loaded or constructed passes through, with its line in the traceback.

    Raises:
        CandidateError: the source does not parse, imports something that is not there, or has no token mixer.
    """
    mixer_class = load_mixer_class(source)
    offered = {"hidden_size": hidden_size, "num_heads": num_heads, "layer_idx": layer_idx}
    parameters = inspect.signature(mixer_class.__init__).parameters.values()
    by_keyword = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [parameter.name for parameter in parameters if parameter.kind in by_keyword]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    if "hidden_size" not in named and not takes_any:
        found = ", ".join(named[1:]) or "none"
        raise CandidateError(f"{mixer_class.__name__} has no argument hidden_size (arguments found: {found})")
    return mixer_class(**{name: value for name, value in offered.items() if takes_any or name in named})


def mix(module: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Run a token mixer on x [B, T, D]; returns (output [B, T, D], auxiliary loss or None).

    The mixer may return a tensor or a tuple that starts with it; the second element counts as an auxiliary
    loss only if it is a floating-point scalar tensor. Non-finite values pass: the trainer looks for them.
    What the candidate raises itself passes through.

    Raises:
        CandidateError: the output has another type or shape.
    """
    mixed = hard_codes_bfloat16(module) and x.dtype != torch.bfloat16
    with compat.promote_matmul() if mixed else contextlib.nullcontext():
        returned = module(x)
    parts = returned if isinstance(returned, tuple | list) else (returned,)
    output = parts[0] if parts else None
    expected = f"forward should return a floating-point tensor of shape {list(x.shape)} or a tuple that starts with one"
    if not isinstance(output, torch.Tensor):
        found = type(output).__name__ if parts else "empty tuple"
        raise CandidateError(f"{expected}; it returned: {found}")
    if output.shape != x.shape or not output.is_floating_point():
        raise CandidateError(f"{expected}; it returned: shape {list(output.shape)}, {output.dtype}")
    auxiliary = parts[1] if len(parts) > 1 else None
    is_loss = isinstance(auxiliary, torch.Tensor) and auxiliary.ndim == 0 and auxiliary.is_floating_point()
    return output, auxiliary if is_loss else None


def python_state(module: nn.Module) -> dict[str, StateValue]:
    """State that `state_dict` leaves out, by "submodule.path:attribute": a faithful checkpoint needs it.

    Covers plain numbers, texts and None, tensors that are neither parameter nor buffer, and buffers registered
    as non-persistent: programs keep the step counters of their schedules in any of these. Tensors are copies.
    """
    state: dict[str, StateValue] = {}
    for path, attribute, value in _hidden_attributes(module):
        if isinstance(value, torch.Tensor):
            state[f"{path}:{attribute}"] = value.detach().clone()
        elif value is None or isinstance(value, bool | int | float | str | np.generic):
            state[f"{path}:{attribute}"] = _plain(value)
    return state


def _plain(value: Any) -> StateValue:
    """A checkpoint takes built-in types alone, not the NumPy scalars and enums that derive from them."""
    if isinstance(value, np.generic):
        value = value.item()
    plain = next((kind for kind in (bool, int, float, str) if isinstance(value, kind)), None)
    return None if plain is None else plain(value)


def restore_python_state(module: nn.Module, state: dict[str, StateValue]) -> None:
    """Put back what `python_state` returned for a module of the same candidate.

    Tensors are copied to the device of the tensor they replace, else of the module's parameters.

    Raises:
        ValueError: the state names a submodule that is not there.
    """
    submodules = dict(module.named_modules())
    home = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    for name, value in state.items():
        path, _, attribute = name.rpartition(":")
        if path not in submodules:
            raise ValueError(f"state {name!r} belongs to another model: there is no submodule {path!r}")
        buffers, attributes = submodules[path]._buffers, submodules[path].__dict__
        place: dict[str, Any] = buffers if attribute in buffers else attributes
        if isinstance(value, torch.Tensor):
            present = place.get(attribute)
            value = value.to(present.device if isinstance(present, torch.Tensor) else home, copy=True)
        place[attribute] = value


_MODULE_INTERNALS = frozenset(vars(nn.Module()))


def _hidden_attributes(module: nn.Module) -> Iterator[tuple[str, str, object]]:
    for path, submodule in module.named_modules():
        for attribute, value in vars(submodule).items():
            if attribute not in _MODULE_INTERNALS:
                yield path, attribute, value
        for attribute in sorted(submodule._non_persistent_buffers_set):
            yield path, attribute, submodule._buffers[attribute]
