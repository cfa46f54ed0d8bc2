"""Initial values that depend on (seed, tensor name) and on nothing else.

A constructor draws its tensors one after the other from one stream, so two architectures with one tensor
more or less share no initial value. Here each random draw is redirected to a NumPy stream of its own, keyed
by the seed and the name of the parameter that it fills. The program's own distribution is kept: whatever the
constructor does with its draws (bounds, scaling, truncation, zeroing) still happens. Comparisons between
candidates become paired tensor by tensor, and the values do not depend on PyTorch's generators.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, Philox
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
# operator -> (kind, in place)
_HANDLED: dict[Any, tuple[str, bool]] = {
    aten.normal_.default: ("normal", True),
    aten.uniform_.default: ("uniform", True),
    aten.randn.default: ("normal", False),
    aten.randn.generator: ("normal", False),
    aten.randn_like.default: ("normal", False),
    aten.rand.default: ("uniform", False),
    aten.rand.generator: ("uniform", False),
    aten.rand_like.default: ("uniform", False),
}


def construct(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """Build a module whose random initial values are keyed by (seed, tensor name).

    Args:
        build: makes the module; called twice, so it must have no effect besides.
        seed: seed of the run.

    The first call finds out which draw fills which parameter, the second makes the module that is returned.
    A draw that lands in no parameter directly (`nn.Parameter(0.02 * torch.randn(...))`) is keyed by its
    position among such draws.
    """
    seed_libraries(seed, "construction")
    with _KeyedDraws(seed, None) as scout:
        module = build()
    owners = {parameter.untyped_storage().data_ptr(): name for name, parameter in module.named_parameters()}
    owners |= {buffer.untyped_storage().data_ptr(): name for name, buffer in module.named_buffers() if buffer.numel()}
    names = [owners.get(drawn.untyped_storage().data_ptr()) if drawn is not None else None for drawn in scout.drawn]
    del module, scout
    seed_libraries(seed, "construction")
    with _KeyedDraws(seed, names):
        return build()


def seed_libraries(seed: int, key: str) -> None:
    """Seed the global generators of PyTorch, NumPy and Python, which a program may draw from, by (seed, key)."""
    value = int(keyed_generator(seed, key).integers(2**62))
    torch.manual_seed(value)
    np.random.seed(value % 2**32)  # noqa: NPY002 - the generator that programs call without a seed of their own
    random.seed(value)


def keyed_generator(seed: int, key: str) -> Generator:
    """The stream of (seed, key): counter-based, so streams are independent and cheap to make."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return Generator(Philox(key=int.from_bytes(digest[:16], "little")))


class _KeyedDraws(TorchDispatchMode):
    """Fills each random draw from the stream of its key. Without names it keeps the drawn tensors to find them."""

    def __init__(self, seed: int, names: list[str | None] | None) -> None:
        super().__init__()
        self.seed, self.names = seed, names
        self.drawn: list[torch.Tensor | None] = []  # kept alive, so that no storage address is used twice
        self.count: dict[str, int] = {}
        self.position = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _HANDLED:
            return self._draw(func, args, kwargs)
        if torch.Tag.nondeterministic_seeded in func.tags:
            # Rare draws (permutations, exponentials, ...) keep PyTorch's generator, seeded by their key.
            torch.manual_seed(int(keyed_generator(self.seed, self._next_key()).integers(2**62)))
            result = func(*args, **kwargs)
            self._remember(result)
            return result
        return func(*args, **kwargs)

    def _draw(self, func: Any, args: Any, kwargs: Any) -> torch.Tensor:
        kind, in_place = _HANDLED[func]
        if in_place:
            target: torch.Tensor = args[0]
            given = list(args[1:])
            low, high = given + [0.0, 1.0][len(given) :]
        else:
            target, low, high = func(*args, **kwargs), 0.0, 1.0
        stream = keyed_generator(self.seed, self._next_key())
        shape = tuple(target.shape)
        if kind == "normal":
            values = low + high * stream.standard_normal(shape)
        else:
            values = low + (high - low) * stream.random(shape)
        target.copy_(torch.from_numpy(np.asarray(values)))
        self._remember(target)
        return target

    def _next_key(self) -> str:
        name = None
        if self.names is not None and self.position < len(self.names):
            name = self.names[self.position]
        self.position += 1
        name = name or "unnamed"
        self.count[name] = self.count.get(name, -1) + 1
        return f"{name}#{self.count[name]}"

    def _remember(self, result: object) -> None:
        if self.names is None:
            self.drawn.append(result if isinstance(result, torch.Tensor) else None)
