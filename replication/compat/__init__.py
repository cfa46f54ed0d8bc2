"""What published programs expect around them, where it is missing.

They import normalisation, short convolution and padding helpers from flash-linear-attention (`fla`), whose
kernels need a GPU; nearly all decorate functions with `@torch.compile`; and some hard-code bfloat16.
`install` supplies the imports and settles compilation, `promote_matmul` settles the mixed precision, and the
programs' text stays as published.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from replication.compat.fla import (
    Cache,
    FusedRMSNormGated,
    RMSNorm,
    ShortConvolution,
    get_unpad_data,
    index_first_axis,
    l2norm,
    pad_input,
)

STAND_INS = "stand-ins"

SUPPLIED: dict[str, dict[str, Any]] = {
    "fla": {},
    "fla.layers": {},
    "fla.layers.utils": {
        "get_unpad_data": get_unpad_data, "index_first_axis": index_first_axis, "pad_input": pad_input,
    },
    "fla.models": {},
    "fla.models.utils": {"Cache": Cache},
    "fla.modules": {
        "FusedRMSNormGated": FusedRMSNormGated, "RMSNorm": RMSNorm, "ShortConvolution": ShortConvolution,
    },
    "fla.modules.l2norm": {"l2_norm": l2norm, "l2norm": l2norm},
}  # fmt: skip
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "transformers": {},
    "transformers.processing_utils": {"Unpack": typing.Unpack},
}


def install(device: str | None = None) -> str:
    """Make what published programs import available in this process, for models on `device` ("cpu", "cuda").

    Without a device: "cuda" where there is one. Returns "fla <version>" where the real package serves (CUDA and
    an importable fla), otherwise "stand-ins". For a CPU `torch.compile` is replaced in the whole process by one
    that returns functions as they are: the same maths, not compiled. Call it in worker processes only, before
    any program is loaded; a second call changes nothing.
    """
    on_gpu = (device or ("cuda" if torch.cuda.is_available() else "cpu")).startswith("cuda")
    if not on_gpu:
        torch.compile = _uncompiled
    if not _stand_ins_are_installed():
        if on_gpu and _fla_is_importable():
            return f"fla {importlib.metadata.version('flash-linear-attention')}"
        _register(SUPPLIED)
        if importlib.util.find_spec("transformers") is None:
            _register(TRANSFORMERS)
    return STAND_INS


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Within it, what `install("cpu")` gives, in a process that may run its models elsewhere and with a real fla."""
    kept, compiler = dict(sys.modules), torch.compile
    try:
        if not _stand_ins_are_installed():
            _forget_fla()
        install("cpu")
        yield
    finally:
        torch.compile = compiler
        _forget_fla()
        sys.modules.update((name, module) for name, module in kept.items() if _is_fla(name))


def _forget_fla() -> None:
    for name in [name for name in sys.modules if _is_fla(name)]:
        del sys.modules[name]


def _is_fla(name: str) -> bool:
    return name.partition(".")[0] == "fla"


def serving(device: str) -> str:
    """What `install` will find for models on `device`: "stand-ins" or "fla <version>"; imports nothing."""
    if device.startswith("cuda") and importlib.util.find_spec("fla") is not None:
        return f"fla {importlib.metadata.version('flash-linear-attention')}"
    return STAND_INS


def torch_compile_is_off() -> bool:
    """Whether `torch.compile` returns functions as they are in this process."""
    return torch.compile is _uncompiled


def _uncompiled(model: Callable[..., Any] | None = None, **_: Any) -> Callable[..., Any]:
    """`torch.compile` without compiling, as a function and as a decorator with or without options.

    Torch's own switch (`torch._dynamo.config.disable`) would still import the compiler, which takes a second.
    """
    return (lambda function: function) if model is None else model


def _stand_ins_are_installed() -> bool:
    return getattr(sys.modules.get("fla.modules"), "RMSNorm", None) is RMSNorm


def _fla_is_importable() -> bool:
    try:
        importlib.import_module("fla.modules")
    except ImportError:
        return False
    return True


def _register(supplied: dict[str, dict[str, Any]]) -> None:
    for name, members in supplied.items():
        module = types.ModuleType(name, "Plain-PyTorch stand-in.")
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        module.__path__ = []  # other submodules are then missing, rather than found in a real package
        vars(module).update(members)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


_MATMULS = frozenset(
    {torch.matmul, torch.bmm, torch.Tensor.matmul, torch.Tensor.bmm, torch.Tensor.__matmul__}
)  # fmt: skip


class promote_matmul(TorchFunctionMode):  # noqa: N801 - used like torch.no_grad()
    """Within it, a matrix product of two floating-point types is taken in the wider one.

    Some published programs round a matrix to bfloat16 and multiply it with activations. Written for training in
    bfloat16, where both sides agree, this is an error with float32 activations, because torch promotes types in
    sums but not in matrix products. With promotion the rounding stays as written and the product is float32,
    which is what their siblings spell out as `.to(torch.bfloat16).to(q.dtype)`.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in _MATMULS and len(args) == 2 and args[0].dtype != args[1].dtype:
            wider = torch.promote_types(args[0].dtype, args[1].dtype)
            args = (args[0].to(wider), args[1].to(wider))
        return func(*args, **(kwargs or {}))
