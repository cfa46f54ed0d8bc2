from __future__ import annotations

import math

import pytest
import torch

from kernels import gated_norm


def arguments(length, dtype=torch.float64):
    generator = torch.Generator().manual_seed(length)
    shapes = [(2, length, 3, 8), (2, length, 3, 8), (8,)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def form(backend):
    return lambda x, gate, weight: gated_norm(x, gate, weight, eps=1e-3, backend=backend)


@pytest.mark.parametrize("backend", ["naive", "chunk"])
def test_a_value_computed_by_hand(backend):
    x, gate, weight = torch.tensor([3.0, 4.0]), torch.tensor([0.0, math.log(3)]), torch.tensor([1.0, 2.0])
    out = gated_norm(x, gate, weight, eps=0.0, backend=backend)
    expected = [0.0, 4 / math.sqrt(12.5) * 2 * math.log(3) * 0.75]
    torch.testing.assert_close(out, torch.tensor(expected))


@pytest.mark.parametrize("length", [1, 63, 64, 100, 257])
def test_chunk_form_equals_naive_in_outputs_and_every_gradient(outputs_and_gradients, length):
    tensors = arguments(length)
    expected = outputs_and_gradients(form("naive"), tensors)
    measured = outputs_and_gradients(form("chunk"), tensors)
    for one, other in zip(measured, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_float32_is_close_to_float64(outputs_and_gradients):
    tensors = arguments(64, torch.float32)
    expected = outputs_and_gradients(form("naive"), [tensor.double() for tensor in tensors])
    measured = outputs_and_gradients(form("chunk"), tensors)
    for one, other in zip(measured, expected, strict=True):
        assert (one - other).abs().max() < 1e-5 * other.abs().max()


def test_outputs_do_not_depend_on_later_tokens(assert_causal):
    x, gate, weight = arguments(20)
    assert_causal(lambda x, gate: gated_norm(x, gate, weight), [x, gate], 9)


def test_a_wrong_argument_is_named():
    x, gate, weight = arguments(9)
    with pytest.raises(ValueError, match=r"^x must"):
        gated_norm(x[..., :-1], gate, weight)
    with pytest.raises(ValueError, match=r"^gate must"):
        gated_norm(x, gate[:, :-1], weight)
    with pytest.raises(ValueError, match=r"^weight must"):
        gated_norm(x, gate, weight[None])
    with pytest.raises(ValueError, match="auto, naive, chunk"):
        gated_norm(x, gate, weight, backend="fast")
