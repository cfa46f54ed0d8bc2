"""What PyTorch and the programs import at first use, loaded while a process may still open files."""

from __future__ import annotations

import contextlib
import importlib
import io
import pkgutil
import sys

import torch
import torch.nn.functional as F

import kernels
from replication.program import ALLOWED_IMPORTS

# Modules that candidates may import and that nothing else has loaded.
OFFERED = (
    *(f"torch.{name}" for name in ("distributions", "fft", "func", "linalg", "nn.attention", "special", "sparse")),
    *("torch.nn.attention.flex_attention", "torch.nn.utils.parametrizations", "torch.nn.utils.parametrize"),
    *("torch.nn.utils.weight_norm", "torch.nn.utils.rnn", "torch.utils.checkpoint", "torch.utils._pytree"),
    *("functorch", "einops", "einops.layers.torch", "typing_extensions", "replication.leaks.clean"),
    "replication.lift.adapters",  # for programs that were lifted
    "encodings.unicode_escape",  # for ast.unparse
    *("numpy.fft", "numpy.linalg", "numpy.polynomial", "numpy.random", "numpy.ma"),
    *(name for name in sorted(ALLOWED_IMPORTS) if name in sys.stdlib_module_names),
)


def preload() -> None:
    """Load it all; to be called before confinement, on one thread."""
    _load_what_candidates_import()
    importlib.import_module("torch._dynamo")  # PyTorch's own constructors import it, and what it finds besides
    _choose_kernels()
    _load_what_training_imports()


def _load_what_candidates_import() -> None:
    """Once for all, and before the children that run them may open no file."""
    for operator in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"kernels.{operator.name}")
    for name in OFFERED:
        with contextlib.suppress(ImportError):  # not in every version, or not installed
            importlib.import_module(name)


def _choose_kernels() -> None:
    """PyTorch chooses some of its kernels at their first use, by files that describe the processor."""
    x = torch.linspace(-1, 1, 64 * 64).view(64, 64).requires_grad_()
    y = F.layer_norm(F.linear(x, x).tanh().exp().cumsum(0) @ x, (64,))
    y.softmax(-1).sum().backward()


def _load_what_training_imports() -> None:
    """A program's process that trains may open no file, and PyTorch imports these parts at their first use."""
    model = torch.nn.Linear(1, 1)
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.ones(1, 1)).sum().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    buffer = io.BytesIO()
    torch.save(optimiser.state_dict(), buffer)
    buffer.seek(0)
    torch.load(buffer, weights_only=True)
