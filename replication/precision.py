"""Numeric precision of strangers' programs: run them in float64, and see what precision they compute in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NARROW = {torch.float16: torch.float64, torch.bfloat16: torch.float64, torch.float32: torch.float64} | {
    torch.complex64: torch.complex128
}
_CASTS = {torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16}
_MATMULS = {torch.matmul, torch.bmm, torch.mm, torch.Tensor.matmul, torch.Tensor.bmm, torch.Tensor.__matmul__}


class in_float64(TorchFunctionMode):  # noqa: N801 - used like torch.no_grad()
    """Within it, whatever a program asks for in a narrower floating-point type is made in float64.

    Its own casts (`.float()`, `.to(torch.bfloat16)`, `dtype=torch.float32`, autocast) would otherwise bring the
    rounding back that float64 parameters and inputs are to keep away. The maths stays as written. Tensors made without
    a type follow torch's default, which the caller sets.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = {
            name: NARROW.get(value, value) if _is_dtype(value) else value for name, value in (kwargs or {}).items()
        }
        args = tuple(NARROW.get(value, value) if _is_dtype(value) else value for value in args)
        if func in _CASTS:
            return args[0].double()
        if func in _MATMULS and len(args) == 2 and args[0].dtype != args[1].dtype:
            wider = torch.promote_types(args[0].dtype, args[1].dtype)
            args = (args[0].to(wider), args[1].to(wider))
        return func(*args, **kwargs)


def _is_dtype(value: object) -> bool:
    return isinstance(value, torch.dtype)


class NarrowestDtype(TorchDispatchMode):
    """Sees every operation, and keeps the largest rounding error of the types that come out."""

    def __init__(self) -> None:
        super().__init__()
        self.epsilon = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and (tensor.is_floating_point() or tensor.is_complex()):
                self.epsilon = max(self.epsilon, torch.finfo(tensor.dtype).eps)
        return result
