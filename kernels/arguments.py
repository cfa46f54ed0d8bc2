"""What every operator asks of its arguments, with messages that name the argument and the remedy."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def own_precision(operator: Callable[P, R]) -> Callable[P, R]:
    """An operator that runs outside of autocast, because it says itself in which types it computes.

    Autocast would reach the products inside a forward pass and not those of its backward pass.
    """

    @functools.wraps(operator)
    def wrapped(*arguments: P.args, **settings: P.kwargs) -> R:
        first = arguments[0] if arguments else None
        tensor = first if isinstance(first, Tensor) or not isinstance(first, list | tuple) or not first else first[0]
        device = tensor.device.type if isinstance(tensor, Tensor) else "cpu"
        if not torch.is_autocast_enabled(device):
            return operator(*arguments, **settings)
        with torch.autocast(device, enabled=False):
            return operator(*arguments, **settings)

    return wrapped


def check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...], axes: str) -> None:
    """`tensor` is floating point and has `shape`; `axes` says in words what the shape means."""
    if not tensor.is_floating_point():
        raise ValueError(f"{name} must be a floating-point tensor, not {tensor.dtype}; convert it first")
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must have shape {axes} = {list(shape)}, not {list(tensor.shape)}")


def check_rank(name: str, tensor: Tensor, axes: str) -> None:
    """`tensor` is floating point and not empty, with as many axes as `axes` ("[B, T, H, K]") names."""
    rank = axes.count(",") + 1
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        raise ValueError(f"{name} must be a floating-point tensor {axes}; convert it first")
    if tensor.dim() != rank or tensor.numel() == 0:
        raise ValueError(f"{name} must be a non-empty tensor {axes}, not of shape {list(tensor.shape)}")


def check_chunk_size(chunk_size: int) -> None:
    """`chunk_size` is positive."""
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1, not {chunk_size}")


def working_dtype(*tensors: Tensor | None) -> torch.dtype:
    """The dtype to compute in: the widest of the arguments, and never below float32."""
    dtype = torch.float32
    for tensor in tensors:
        if tensor is not None:
            dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype
