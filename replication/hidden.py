"""State of a module: putting back what calls changed, putting it ahead, moving its parameters, its precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from replication.candidate import StateValue, python_state, restore_python_state
from replication.initialise import keyed_generator

CALLS_AHEAD = 100_000  # how far counters of calls are put forward
CALLS_SEEN = 3  # training calls from which a counter is told
MOST_NUMBERS = 4096  # of one tensor; counters are not larger


@dataclass(frozen=True)
class Snapshot:
    """Parameters, buffers and hidden state of a module: what a call may change."""

    tensors: dict[str, torch.Tensor]
    hidden: dict[str, StateValue]
    attributes: tuple[int, ...]  # how many each submodule has: more mean that some were made

    @classmethod
    def take(cls, module: nn.Module) -> Snapshot:
        """What `module` holds now."""
        tensors = {name: tensor.detach().clone() for name, tensor in _tensors(module)}
        return cls(tensors=tensors, hidden=python_state(module), attributes=_attribute_counts(module))

    def restore(self, module: nn.Module) -> None:
        """Put it back, and drop what was made since."""
        with torch.no_grad():
            for name, tensor in _tensors(module):
                if name in self.tensors and tensor.shape == self.tensors[name].shape:
                    tensor.copy_(self.tensors[name])
        if self.hidden:
            restore_python_state(module, self.hidden)
        if _attribute_counts(module) == self.attributes:
            return
        for name in python_state(module).keys() - self.hidden.keys():  # made since
            path, _, attribute = name.rpartition(":")
            vars(module.get_submodule(path)).pop(attribute, None)


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _attribute_counts(module: nn.Module) -> tuple[int, ...]:
    return tuple(len(vars(submodule)) + len(submodule._buffers) for submodule in module.modules())


def train_ahead(module: nn.Module, call: Callable[[int], None]) -> None:
    """Leave the module as many training calls leave it: state that they make is there, and counters stand far ahead.

    call: makes the n-th training call. Numbers that change by equal steps go CALLS_AHEAD steps on; numbers that shrink
    by equal factors go to 0. A number that its type cannot hold stays.
    """
    seen = [_numbers(module)]
    for number in range(CALLS_SEEN):
        call(number)
        seen.append(_numbers(module))
    for name, last in seen[-1].items():
        values = [numbers[name] for numbers in seen if name in numbers]  # some are made by the first call
        if len(values) >= CALLS_SEEN and all(value.shape == last.shape for value in values):
            target = _ahead(values)
            if target is not None:
                _put(module, name, target)


def move_parameters(module: nn.Module, seed: int, move: float, *, flip: bool = False, shift: float = 0.0) -> None:
    """Take parameters off their values by noise keyed by (seed, name); arguments as in `states.ProgramState`."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not parameter.is_floating_point() or parameter.numel() == 0:
                continue
            if flip and parameter.ndim < 2:
                parameter.neg_()
            floor = 0.3 if parameter.ndim < 2 else 0.3 / (parameter[0].numel() ** 0.5)
            size = max(float(parameter.square().mean().sqrt()), floor)
            noise = keyed_generator(seed, f"move {name}").standard_normal(tuple(parameter.shape))
            parameter.add_(torch.from_numpy(np.asarray(noise)).to(parameter), alpha=move * size)
            if parameter.ndim < 2:
                parameter.add_(shift)


def widen(module: nn.Module) -> nn.Module:
    """The module in float64, and complex128 where it is complex; tensors that are no parameters or buffers too."""
    module.double()
    for submodule in module.modules():
        for name, tensor in [*submodule._parameters.items(), *submodule._buffers.items()]:
            if tensor is not None and tensor.dtype == torch.complex64:
                if name in submodule._buffers:
                    submodule._buffers[name] = tensor.to(torch.complex128)
                else:
                    tensor.data = tensor.data.to(torch.complex128)
    for name, value in python_state(module).items():
        if isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex()):
            wide = torch.complex128 if value.is_complex() else torch.float64
            if value.dtype != wide:
                restore_python_state(module, {name: value.to(wide)})
    return module


def _ahead(values: list[np.ndarray]) -> np.ndarray | None:
    """Where a series of equal steps, or of equal shrinking factors, leads; None where it is neither."""
    with np.errstate(all="ignore"):
        steps = np.stack([later - earlier for earlier, later in pairwise(values)])
        if not np.isfinite(steps).all() or not steps.any():
            return None
        if np.allclose(steps, steps[0], rtol=1e-4, atol=0.0):
            ahead: np.ndarray = values[-1] + CALLS_AHEAD * steps[-1]
            return ahead
        factors = np.stack([later / earlier for earlier, later in pairwise(values)])
        shrinks = np.isfinite(factors).all() and (np.abs(factors) < 1).all()
        return np.zeros_like(values[-1]) if shrinks and np.allclose(factors, factors[0], rtol=1e-4) else None


def _numbers(module: nn.Module) -> dict[str, np.ndarray]:
    """Numbers among hidden state and buffers, by name, as float64 arrays."""
    values = {f"hidden {name}": value for name, value in python_state(module).items()}
    values |= {f"buffer {name}": buffer for name, buffer in module.named_buffers()}
    found = {}
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            if value.dtype != torch.bool and not value.is_complex() and 0 < value.numel() <= MOST_NUMBERS:
                found[name] = value.detach().to("cpu", torch.float64).numpy().copy()
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = np.float64(value) * np.ones(())
    return found


def _put(module: nn.Module, name: str, target: np.ndarray) -> None:
    kind, _, path = name.partition(" ")
    present = dict(module.named_buffers())[path] if kind == "buffer" else python_state(module)[path]
    if isinstance(present, torch.Tensor):
        if not present.is_floating_point():
            limits = torch.iinfo(present.dtype)
            if target.min() < limits.min or target.max() > limits.max:
                return
        value = torch.from_numpy(np.asarray(target)).to(present.dtype).to(present.device)
        if kind == "buffer":
            with torch.no_grad():
                present.copy_(value)
        else:
            restore_python_state(module, {path: value})
    elif isinstance(present, int):
        restore_python_state(module, {path: int(target)})
    else:
        restore_python_state(module, {path: float(target)})
