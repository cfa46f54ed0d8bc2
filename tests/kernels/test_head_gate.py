from __future__ import annotations

import math

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from kernels.head_gate import ACTIVATIONS, head_gate

NAMES = ("h", "s", "w1", "b1", "w2", "b2")


def arguments(B=2, T=9, D=12, H=3, S=5, F=40, G=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(T)
    shapes = [(B, T, D), (B, T, H, S), (F, D + S), (F,), (G, F), (G,)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def form(backend, activation="gelu"):
    return lambda *tensors: head_gate(*tensors, activation=activation, backend=backend)


def without_biases(backend):
    return lambda h, s, w1, w2: head_gate(h, s, w1, None, w2, None, backend=backend)


def assert_same(measured, expected, tolerance):
    for number, (one, other) in enumerate(zip(measured, expected, strict=True)):
        allowed = tolerance * max(1.0, other.abs().max().item())
        torch.testing.assert_close(
            one.double(), other.double(), rtol=0, atol=allowed, msg=lambda m, n=number: f"tensor {n}: {m}"
        )


@pytest.mark.parametrize("backend", ["naive", "chunk"])
def test_a_value_computed_by_hand(backend):
    h, s = torch.tensor([[[2.0]]]), torch.tensor([[[[1.0], [-3.0]]]])
    w1, b1 = torch.tensor([[1.0, 0.5], [-1.0, 2.0]]), torch.tensor([0.5, 0.0])
    w2, b2 = torch.tensor([[2.0, 10.0]]), torch.tensor([0.25])
    out = head_gate(h, s, w1, b1, w2, b2, activation="relu", backend=backend)
    # head 0: (2 + 0.5 + 0.5, -2 + 2); head 1: (2 - 1.5 + 0.5, -2 - 6)
    assert out.flatten().tolist() == [6.25, 2.25]


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("gelu", 0.5 * (1 + math.erf(0.5**0.5))),
        ("gelu_tanh", 0.5 * (1 + math.tanh((2 / math.pi) ** 0.5 * 1.044715))),
        ("silu", 1 / (1 + math.exp(-1))),
        ("relu", 1.0),
        ("tanh", math.tanh(1)),
    ],
)
def test_each_activation_is_the_function_of_its_name(activation, expected):
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    out = head_gate(one, one[None] * 0, torch.ones(1, 2).double(), None, one[0], None, activation=activation)
    assert out.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("length", [1, 63, 100])
def test_chunk_form_equals_naive_in_outputs_and_every_gradient(outputs_and_gradients, length, activation):
    tensors = arguments(T=length)
    expected = outputs_and_gradients(form("naive", activation), tensors)
    assert_same(outputs_and_gradients(form("chunk", activation), tensors), expected, 1e-11)


def test_chunk_form_equals_naive_without_biases(outputs_and_gradients):
    h, s, w1, _, w2, _ = arguments()
    expected = outputs_and_gradients(without_biases("naive"), [h, s, w1, w2])
    assert_same(outputs_and_gradients(without_biases("chunk"), [h, s, w1, w2]), expected, 1e-11)


def test_float32_is_close_to_float64(outputs_and_gradients):
    tensors = arguments(dtype=torch.float32)
    expected = outputs_and_gradients(form("naive"), [tensor.double() for tensor in tensors])
    assert_same(outputs_and_gradients(form("chunk"), tensors), expected, 1e-5)


def test_the_gradients_are_those_of_finite_differences():
    tensors = [tensor.requires_grad_() for tensor in arguments(B=1, T=2, D=2, H=2, S=2, F=3, G=2)]
    assert torch.autograd.gradcheck(form("chunk"), tensors)


def test_what_is_kept_for_the_backward_pass_is_a_tenth_or_less():
    tensors = [tensor.requires_grad_() for tensor in arguments(B=1, T=16, D=256, H=4, S=4, F=256)]

    def kept(backend):
        found = {}

        def pack(tensor):
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with saved_tensors_hooks(pack, lambda tensor: tensor):
            out = form(backend)(*tensors)
        weights = {tensor.untyped_storage().data_ptr() for tensor in tensors[2:]}
        assert out.requires_grad
        return sum(size for address, size in found.items() if address not in weights)

    assert kept("chunk") * 10 <= kept("naive")


def test_outputs_do_not_depend_on_other_tokens(assert_causal):
    h, s, *weights = arguments(T=20)
    assert_causal(lambda h, s: head_gate(h, s, *weights), [h, s], 9)


def test_bfloat16_is_computed_in_float32_and_returned_in_bfloat16():
    tensors = arguments(dtype=torch.bfloat16)
    out = head_gate(*tensors)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, head_gate(*[tensor.float() for tensor in tensors]).bfloat16())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("h", lambda t: t[0]),
        ("h", lambda t: t.long()),
        ("s", lambda t: t[..., 0]),
        ("s", lambda t: t[:, :-1]),
        ("w1", lambda t: t[:, :-1]),
        ("b1", lambda t: t[:-1]),
        ("w2", lambda t: t[0]),
        ("b2", lambda t: t[:-1]),
    ],
)
def test_a_wrong_argument_is_named(name, change):
    tensors = dict(zip(NAMES, arguments(), strict=True))
    with pytest.raises(ValueError, match=rf"^{name} must"):
        head_gate(**{**tensors, name: change(tensors[name])})


def test_unknown_activations_and_backends_are_refused():
    with pytest.raises(ValueError, match="activation must be one of gelu, gelu_tanh"):
        head_gate(*arguments(), activation="selu")
    with pytest.raises(ValueError, match="backend must be one of auto"):
        head_gate(*arguments(), backend="fast")
