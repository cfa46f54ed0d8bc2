"""What a trainer and a mixer process share: a piece of memory for tensors, and a form for hidden state.

Nothing here is trusted to be sound: a reader copies what it takes, at a place and of a size that it computes itself.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    )
}
_ALIGNMENT = 64
Plain = int | float | bool | str | None


class ExchangeError(Exception):
    """The other side described a tensor or a state that there cannot be."""


@dataclass(frozen=True)
class Form:
    """Shape and dtype of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Form:
        """The form of a dense tensor. Raises ExchangeError for any other."""
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in DTYPES.values():
            raise ExchangeError(f"a tensor of {tensor.dtype}, {tensor.layout} cannot be kept")
        return cls(tuple(tensor.shape), tensor.dtype)

    @classmethod
    def from_told(cls, told: object) -> Form:
        """Read what `told` wrote. Raises ExchangeError."""
        if not isinstance(told, list) or len(told) != 2 or not isinstance(told[0], list) or str(told[1]) not in DTYPES:
            raise ExchangeError("malformed description of a tensor")
        if len(told[0]) > 32 or not all(type(size) is int and 0 <= size < 2**40 for size in told[0]):
            raise ExchangeError("malformed shape of a tensor")
        return cls(tuple(told[0]), DTYPES[str(told[1])])

    @property
    def told(self) -> list[Any]:
        """As JSON."""
        return [list(self.shape), str(self.dtype).removeprefix("torch.")]

    @property
    def count(self) -> int:
        """Elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def bytes(self) -> int:
        """Bytes, without padding."""
        return self.count * self.dtype.itemsize


class SharedMemory:
    """Activations one way and the other, the parameters, and their gradients, in one mapping.

    Attributes:
        parameters, gradients: one tensor of each parameter's values, and of its gradient, in order.

    Args:
        descriptor: of a file in memory.
        activations: bytes of one tensor of activations.
        parameters: their forms, in order.

    Raises:
        MemoryError: the file is too small.
    """

    def __init__(self, descriptor: int, activations: int, parameters: Sequence[Form]) -> None:
        self._forms = tuple(parameters)
        self._outward = _aligned(activations)
        starts, at = [], 2 * self._outward
        for form in self._forms:
            starts.append(at)
            at += _aligned(form.bytes)
        size = at - 2 * self._outward
        try:
            self._memory = mmap.mmap(descriptor, max(at + size, 1))
        except ValueError as error:
            raise MemoryError from error
        forms = list(zip(starts, self._forms, strict=True))
        self.parameters = [self._view(start, form) for start, form in forms]
        self.gradients = [self._view(start + size, form) for start, form in forms]
        self._ways: dict[tuple[int, Form], torch.Tensor] = {}

    def inward(self, form: Form) -> torch.Tensor:
        """What the trainer hands over: inputs, or gradients of outputs."""
        return self._way(0, form)

    def outward(self, form: Form) -> torch.Tensor:
        """What the mixers hand back: outputs, or gradients of inputs."""
        return self._way(self._outward, form)

    def _way(self, start: int, form: Form) -> torch.Tensor:
        if (start, form) not in self._ways:
            self._ways[start, form] = self._view(start, form)
        return self._ways[start, form]

    def _view(self, start: int, form: Form) -> torch.Tensor:
        if form.count == 0:
            return torch.empty(form.shape, dtype=form.dtype)
        return torch.frombuffer(self._memory, dtype=form.dtype, count=form.count, offset=start).view(form.shape)


def copy_all(targets: Sequence[torch.Tensor], sources: Sequence[torch.Tensor]) -> None:
    """Copy each source into its target, with no gradient."""
    with torch.no_grad():
        if targets:
            torch._foreach_copy_(list(targets), list(sources))


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@dataclass(frozen=True)
class State:
    """Hidden state by name, as it travels: plain values, and tensors as bytes with their forms."""

    values: dict[str, Plain]
    forms: dict[str, Form]
    data: tuple[np.ndarray, ...]  # uint8, one for each of forms

    @classmethod
    def pack(cls, state: Mapping[str, Plain | torch.Tensor]) -> State:
        """Raises ExchangeError for a tensor that is not dense."""
        tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
        return cls(
            values={name: value for name, value in state.items() if not isinstance(value, torch.Tensor)},
            forms={name: Form.of(tensor) for name, tensor in tensors.items()},
            data=tuple(to_bytes(tensor) for tensor in tensors.values()),
        )

    @classmethod
    def from_told(cls, header: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> State:
        """Read what `told` and `data` wrote. Raises ExchangeError."""
        values, forms = header.get("values"), header.get("forms")
        if not isinstance(values, dict) or not isinstance(forms, dict) or len(forms) != len(arrays):
            raise ExchangeError("malformed state")
        if not all(value is None or isinstance(value, int | float | str) for value in values.values()):
            raise ExchangeError("malformed value in a state")
        read = {name: Form.from_told(form) for name, form in forms.items()}
        if any(a.dtype != np.uint8 or a.shape != (form.bytes,) for a, form in zip(arrays, read.values(), strict=True)):
            raise ExchangeError("malformed tensor in a state")
        return cls(values=values, forms=read, data=tuple(arrays))

    @property
    def told(self) -> dict[str, Any]:
        """The header of a frame whose arrays are `data`."""
        return {"values": self.values, "forms": {name: form.told for name, form in self.forms.items()}}

    def unpack(self) -> dict[str, Plain | torch.Tensor]:
        """The state again, tensors on the CPU."""
        tensors = {
            name: from_bytes(form, data) for (name, form), data in zip(self.forms.items(), self.data, strict=True)
        }
        return {**self.values, **tensors}


def to_bytes(tensor: torch.Tensor) -> np.ndarray:
    """The values of a dense tensor as they travel, uint8 [bytes]."""
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    array: np.ndarray = flat.view(torch.uint8).numpy()
    return array


def from_bytes(form: Form, data: np.ndarray) -> torch.Tensor:
    """A tensor on the CPU from what `to_bytes` made, copied. Raises ExchangeError for bytes of another form."""
    if data.dtype != np.uint8 or data.shape != (form.bytes,):
        raise ExchangeError("bytes of another tensor")
    if not form.count:
        return torch.empty(form.shape, dtype=form.dtype)
    return torch.frombuffer(data.copy(), dtype=form.dtype).view(form.shape)
