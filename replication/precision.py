"""Numeric precision of strangers' programs: run them in float64, and see what precision they compute in."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

NARROW = {torch.float16: torch.float64, torch.bfloat16: torch.float64, torch.float32: torch.float64} | {
    torch.complex64: torch.complex128
}
WIDER = dict.fromkeys(("float16", "half", "bfloat16", "float32", "float"), "float64") | {"complex64": "complex128"}
_CASTS = {torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16}
_TYPED = {torch.Tensor.to, torch.Tensor.type}
_MATMULS = {torch.matmul, torch.bmm, torch.mm, torch.Tensor.matmul, torch.Tensor.bmm, torch.Tensor.__matmul__}


@functools.lru_cache(maxsize=4)
def widened_source(source: str) -> str:
    """A program's text with its own narrow types replaced by float64: `torch.bfloat16`, `.float()` and their like.

    These casts would otherwise bring the rounding back that float64 parameters and inputs are to keep away. The maths
    stays as written.
    """
    return ast.unparse(_Widen().visit(ast.parse(source)))


class _Widen(ast.NodeTransformer):
    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "torch" and node.attr in WIDER:
            return ast.copy_location(ast.Attribute(node.value, WIDER[node.attr], node.ctx), node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("float", "half", "bfloat16") and not node.args:
            node.func.attr = "double"
        return node


class in_float64(TorchFunctionMode):  # noqa: N801 - used like torch.no_grad()
    """Within it, what is asked for in a narrower floating-point type is made in float64, whoever asks.

    For casts that `widened_source` does not see: in libraries, behind variables, by autocast. It costs Python time for
    every operation. Tensors made without a type follow torch's default, which the caller sets.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if kwargs and kwargs.get("dtype") in NARROW:
            kwargs = {**kwargs, "dtype": NARROW[kwargs["dtype"]]}
        if func in _CASTS:
            return args[0].double()
        if func in _TYPED:
            args = tuple(NARROW.get(value, value) if isinstance(value, torch.dtype) else value for value in args)
        elif func in _MATMULS and len(args) == 2 and args[0].dtype != args[1].dtype:
            wider = torch.promote_types(args[0].dtype, args[1].dtype)
            args = (args[0].to(wider), args[1].to(wider))
        return func(*args, **(kwargs or {}))


class NarrowestDtype(TorchDispatchMode):
    """Sees every operation, and keeps the largest rounding error of the types that come out."""

    def __init__(self) -> None:
        super().__init__()
        self.epsilon = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in (result,) if isinstance(result, torch.Tensor) else tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and (tensor.is_floating_point() or tensor.is_complex()):
                self.epsilon = max(self.epsilon, torch.finfo(tensor.dtype).eps)
        return result
