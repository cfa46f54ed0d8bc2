"""What a call costs, counted and not timed, and how that grows with the length of the sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

MATTERS = 0.01  # an operation with less than this share of the work at the longest length decides nothing


def growth(counts: Sequence[Mapping[str, Any]], lengths: Sequence[int]) -> tuple[float, str]:
    """The exponent that decides, and a line about all.

    counts: of each length, `work` by operation and `memory` in bytes (`Subject.growth`). It decides how work of the
    fastest-growing operation, or memory, grows between the two longest: a quadratic part does not hide behind a large
    linear one.
    """
    work, memory = [sum(count["work"].values()) for count in counts], [count["memory"] for count in counts]
    operation, fastest = _fastest([count["work"] for count in counts], lengths)
    line = (
        f"from {lengths[0]} to {lengths[-1]} tokens work grows like T^{_exponent(work, lengths):.2f}, memory like "
        f"T^{_exponent(memory, lengths):.2f}; fastest operation {operation} T^{fastest:.2f}"
    )
    return max(fastest, _last_exponent(memory, lengths)), line


def _exponent(values: Sequence[float], lengths: Sequence[int]) -> float:
    """Slope of log(values) over log(lengths) by least squares."""
    return float(np.polyfit(np.log(lengths), np.log(np.maximum(values, 1.0)), 1)[0])


def _last_exponent(values: Sequence[float], lengths: Sequence[int]) -> float:
    """Slope of log(values) over log(lengths) between the two longest."""
    return _exponent(values[-2:], lengths[-2:])


def _fastest(counts: Sequence[Mapping[str, float]], lengths: Sequence[int]) -> tuple[str, float]:
    """The operation with the steepest last slope among those that do a hundredth of the work at the longest."""
    total = sum(counts[-1].values())
    if total == 0.0:
        return "none", 0.0
    matter = sorted(name for name, work in counts[-1].items() if work >= MATTERS * total)
    slopes = {name: _last_exponent([count.get(name, 0.0) for count in counts], lengths) for name in matter}
    name = max(matter, key=lambda name: slopes[name])
    return name.removeprefix("aten."), slopes[name]


class Work(TorchDispatchMode):
    """Counts what each operation does: the library's FLOP formula where it has one, else elements written."""

    def __init__(self) -> None:
        super().__init__()
        self.by_operation: dict[str, float] = {}
        self._known: dict[tuple[object, ...], float] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.is_view:
            return result
        packet = func.overloadpacket
        name = str(packet)
        if packet in flop_registry:
            shapes = (packet, *(value.shape if isinstance(value, torch.Tensor) else str(value) for value in args))
            if kwargs or shapes not in self._known:  # the library's formulas take longer than the operations
                self._known[shapes] = float(flop_registry[packet](*args, **kwargs, out_val=result))
            work = self._known[shapes]
        elif "scaled_dot_product" in name:  # the library knows those of GPUs only
            work = float(sdpa_flop_count(*(tensor.shape for tensor in args[:3])))
        elif isinstance(result, torch.Tensor):  # most operations; a tree of tensors takes longer to walk
            work = float(result.numel())
        else:
            work = float(sum(t.numel() for t in tree_leaves(result) if isinstance(t, torch.Tensor)))
        self.by_operation[name] = self.by_operation.get(name, 0.0) + work
        return result


class KeptBytes:
    """Bytes of the distinct tensors that the backward pass would need."""

    def __init__(self) -> None:
        self.total = 0
        self._seen: dict[tuple[int, int], torch.Tensor] = {}  # kept alive: an address must not be used twice

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count a tensor; for `torch.autograd.graph.saved_tensors_hooks`."""
        storage = tensor.untyped_storage()
        key = (storage.data_ptr(), storage.nbytes())
        if key not in self._seen:
            self._seen[key] = tensor
            self.total += storage.nbytes()
        return tensor
