"""The gate's Triton kernels, run by Triton's interpreter on a CPU."""

from __future__ import annotations

import pytest
import torch

from kernels.head_gate import ACTIVATIONS, head_gate

pytest.importorskip("triton")


def arguments(B=2, T=11, D=6, H=3, S=5, F=40, G=4, dtype=torch.float64):
    """With 3 heads in tiles of 16 tokens: the second of two tiles is not full, nor is the last block of F."""
    generator = torch.Generator().manual_seed(T)
    shapes = [(B, T, D), (B, T, H, S), (F, D + S), (F,), (G, F), (G,)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def form(backend, activation="gelu"):
    return lambda *tensors: head_gate(*tensors, activation=activation, backend=backend)


def assert_same(measured, expected, tolerance):
    for number, (one, other) in enumerate(zip(measured, expected, strict=True)):
        allowed = tolerance * max(1.0, other.abs().max().item())
        torch.testing.assert_close(
            one.double(), other.double(), rtol=0, atol=allowed, msg=lambda m, n=number: f"tensor {n}: {m}"
        )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_kernels_equal_naive_in_outputs_and_every_gradient(outputs_and_gradients, activation):
    tensors = arguments()
    expected = outputs_and_gradients(form("naive", activation), tensors)
    assert_same(outputs_and_gradients(form("triton", activation), tensors), expected, 1e-10)


@pytest.mark.parametrize(
    "sizes",
    [
        {"T": 1, "B": 1, "H": 1, "S": 1, "F": 3, "G": 1},
        {"T": 5, "H": 8, "S": 17, "F": 16, "G": 5},
        {"T": 3, "H": 33, "S": 4, "F": 33, "G": 16},
        {"T": 40, "H": 4, "S": 33, "F": 20, "G": 3},
    ],
)
def test_every_shape_equals_naive(outputs_and_gradients, sizes):
    tensors = arguments(**sizes)
    expected = outputs_and_gradients(form("naive"), tensors)
    assert_same(outputs_and_gradients(form("triton"), tensors), expected, 1e-10)


def test_kernels_equal_naive_without_biases(outputs_and_gradients):
    h, s, w1, _, w2, _ = arguments()

    def operator(backend):
        return lambda h, s, w1, w2: head_gate(h, s, w1, None, w2, None, backend=backend)

    expected = outputs_and_gradients(operator("naive"), [h, s, w1, w2])
    assert_same(outputs_and_gradients(operator("triton"), [h, s, w1, w2]), expected, 1e-10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 1e-2)])
@pytest.mark.parametrize("precision", ["highest", "high"])
def test_low_precision_is_close_to_float64(outputs_and_gradients, dtype, tolerance, precision):
    tensors = arguments(dtype=dtype)
    expected = outputs_and_gradients(form("naive"), [tensor.double() for tensor in tensors])
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        measured = outputs_and_gradients(form("triton"), tensors)
    finally:
        torch.set_float32_matmul_precision(before)
    assert {tensor.dtype for tensor in measured} == {dtype}
    assert_same(measured, expected, tolerance)


def test_a_token_sees_neither_later_tokens_nor_other_sequences():
    h, s, *weights = arguments()
    before = head_gate(h, s, *weights, backend="triton")
    h[:, 6:], s[:, 6:] = h[:, 6:] + 1, s[:, 6:] - 1
    h[1], s[1] = -h[1], -s[1]
    after = head_gate(h, s, *weights, backend="triton")
    assert torch.equal(before[0, :6], after[0, :6])
    assert (before[0, 6:] - after[0, 6:]).abs().min() > 0
    assert (before[1] - after[1]).abs().min() > 0


def test_heads_do_not_see_each_other():
    h, s, *weights = arguments()
    before = head_gate(h, s, *weights, backend="triton")
    s[:, :, 1] += 1
    after = head_gate(h, s, *weights, backend="triton")
    assert torch.equal(before[:, :, [0, 2]], after[:, :, [0, 2]])
    assert (before[:, :, 1] - after[:, :, 1]).abs().min() > 0


def test_gradients_are_those_of_finite_differences():
    tensors = [tensor.requires_grad_() for tensor in arguments(B=1, T=1, D=1, H=2, S=1, F=2, G=1)]
    assert torch.autograd.gradcheck(form("triton"), tensors)


def test_the_operators_keep_the_rules_of_torch_library():
    from kernels.head_gate import triton as kernels

    h, s, w1, b1, w2, _ = (tensor.requires_grad_() for tensor in arguments())
    assert set(torch.library.opcheck(kernels._gate, (h, s, w1, b1, w2, "gelu")).values()) == {"SUCCESS"}
    detached = [tensor.detach() for tensor in (h, s, w1, b1, w2)]
    grad = torch.ones(*s.shape[:3], w2.shape[0], dtype=h.dtype)
    rules = ("test_schema", "test_faketensor", "test_aot_dispatch_dynamic")
    found = torch.library.opcheck(kernels._gate_backward, (grad, *detached, "gelu"), test_utils=rules)
    assert set(found.values()) == {"SUCCESS"}


def test_the_same_arguments_give_the_same_bits(outputs_and_gradients):
    tensors = arguments(dtype=torch.float32)
    first, second = (outputs_and_gradients(form("triton"), tensors) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_arguments_may_lie_in_memory_in_any_order(outputs_and_gradients):
    tensors = arguments()
    expected = outputs_and_gradients(form("triton"), tensors)
    h, s, w1, b1, w2, b2 = tensors
    strided = [h.mT.contiguous().mT, s.mT.contiguous().mT, w1.T.contiguous().T, b1.repeat_interleave(2)[::2]]
    strided += [w2.T.contiguous().T, b2]
    assert not any(tensor.is_contiguous() for tensor in strided[:5])
    leaves = [tensor.detach().requires_grad_() for tensor in strided]
    out = form("triton")(*leaves)
    generator = torch.Generator().manual_seed(99)
    projection = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    measured = [out.detach(), *torch.autograd.grad((out * projection).sum(), leaves)]
    assert_same(measured, expected, 1e-10)


def test_a_frozen_bias_gets_no_gradient():
    tensors = arguments()
    for tensor in tensors[:3]:
        tensor.requires_grad_()
    form("triton")(*tensors).sum().backward()
    assert all(tensor.grad.isfinite().all() for tensor in tensors[:3])
    assert tensors[3].grad is None


@pytest.mark.parametrize(
    ("sizes", "reason"),
    [({"S": 65}, "at most 64 statistics"), ({"G": 17}, "at most 16 outputs"), ({"H": 65}, "at most 64 heads")],
)
def test_what_the_kernels_cannot_serve_is_refused_with_the_reason(sizes, reason):
    with pytest.raises(ValueError, match=reason):
        head_gate(*arguments(**sizes), backend="triton")


def test_mixed_dtypes_are_refused():
    h, *others = arguments()
    with pytest.raises(ValueError, match="one dtype"):
        head_gate(h.float(), *others, backend="triton")
