"""What all operators that are Triton kernels have in common, in Triton's interpreter (conftest.py)."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels import branch_mix, branch_moments, delta_rule, fir, head_gate
from kernels.flops import flop_counter

interpreter = pytest.importorskip("triton.runtime.interpreter")

ROOT = Path(__file__).parents[2]
SHAPES = {
    "fir": ((1, 70, 3), (3, 5), (3, 2)),
    "branch_moments": ((1, 5, 2, 4), (1, 5, 2, 4)),
    "branch_mix": ((1, 5, 2, 2), (1, 5, 2, 4), (1, 5, 2, 4)),
    "head_gate": ((1, 20, 6), (1, 20, 3, 5), (24, 11), (24,), (4, 24), (4,)),
    "delta_rule": ((1, 320, 2, 16), (1, 320, 2, 16), (1, 320, 2, 16), (1, 320, 2)),
}
CALLS = {
    "fir": lambda backend, x, *filters: torch.cat(fir(x, filters, backend=backend)),
    "branch_moments": lambda backend, *branches: branch_moments(branches, backend=backend),
    "branch_mix": lambda backend, weights, *branches: branch_mix(branches, weights, backend=backend),
    "head_gate": lambda backend, *tensors: head_gate(*tensors, backend=backend),
    "delta_rule": lambda backend, *tensors: delta_rule(*tensors, backend=backend),
}


def arguments(name, *, length=None):
    generator = torch.Generator().manual_seed(7)
    shapes = [(shape[0], length or shape[1], *shape[2:]) if len(shape) > 2 else shape for shape in SHAPES[name]]
    return [(0.1 * torch.randn(shape, generator=generator)).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("name", CALLS)
def test_every_kernel_is_launched_on_the_device_of_its_arguments(name, monkeypatch):
    tensors, launched, entered = arguments(name, length=9), [], []
    places = {tensor.device for tensor in tensors}
    launch = interpreter.GridExecutor.__call__

    @contextlib.contextmanager
    def device_of(tensor):
        entered.append(tensor.device)
        yield
        entered.pop()

    @functools.wraps(launch)
    def recorded(self, *given, **options):
        launched.append(set(entered))
        return launch(self, *given, **options)

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setattr(interpreter.GridExecutor, "__call__", recorded)
    out = CALLS[name]("triton", *tensors)
    forward = len(launched)
    out.sum().backward()
    assert 0 < forward < len(launched)
    assert all(each == places for each in launched)


@pytest.mark.parametrize("name", CALLS)
def test_a_second_derivative_is_refused_and_not_wrong(name):
    tensors = arguments(name, length=9)
    gradients = torch.autograd.grad(CALLS[name]("triton", *tensors).square().sum(), tensors, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        sum(each.square().sum() for each in gradients).backward()


def counted(backend, name):
    """FLOPs of the forward and of the backward pass."""
    tensors, found = arguments(name), []
    with flop_counter("cuda") as counter:
        out = CALLS[name](backend, *tensors)
    found.append(counter.get_total_flops())
    with flop_counter("cuda") as counter:
        out.sum().backward()
    return [*found, counter.get_total_flops()]


def test_the_flops_of_filters_are_those_of_the_convolutions():
    products = 2 * 70 * 3 * (5 + 2)
    assert counted("triton", "fir") == counted("chunk", "fir") == [products, 2 * products]


def test_the_flops_of_the_delta_rule_agree_with_the_chunk_form():
    for ours, theirs in zip(counted("triton", "delta_rule"), counted("chunk", "delta_rule"), strict=True):
        assert 1.0 <= ours / theirs < 1.05  # the chunk form leaves out products with the first state, which is zero


def test_the_flops_of_the_head_gate_agree_with_the_chunk_form():
    ours, theirs = counted("triton", "head_gate"), counted("chunk", "head_gate")
    assert ours[0] == theirs[0] == 2 * 20 * 24 * (6 + 3 * (5 + 4))
    in_place = 2 * 20 * 24 * 3 * (5 + 4)  # PyTorch does not count addmm_
    assert ours[1] == theirs[1] + in_place


def test_a_counter_made_before_the_first_call_knows_the_kernels():
    program = """
import torch
from kernels import head_gate
from kernels.flops import flop_counter
with flop_counter("cuda") as counter:
    tensors = [torch.ones(shape) for shape in ((1, 2, 3), (1, 2, 1, 2), (4, 5), (4,), (2, 4), (2,))]
    head_gate(*tensors, backend="triton")
print(counter.get_total_flops())
"""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{2 * 2 * 4 * (3 + 2 + 2)}\n", done.stderr


def test_filter_gradients_share_no_memory():
    x, *filters = arguments("fir")
    shorter = [each[:, :1].detach().requires_grad_() for each in filters]
    out = CALLS["fir"]("triton", x, *shorter)
    gradients = torch.autograd.grad(out.square().sum(), shorter)
    assert len({each.untyped_storage().data_ptr() for each in gradients}) == len(gradients)
