"""The Triton kernels of the delta rule in Triton's interpreter (conftest.py), against the naive form in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from kernels import delta_rule

pytest.importorskip("triton")


def arguments(length, *, size=16, batch=1, heads=2, gated=False, beta=None, keys="random", dtype=torch.float64):
    """q, k, v, beta (and log_decay): keys of unit length, beta in (0, 2) unless given."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    k = normal(batch, length, heads, size)
    if keys == "near-repeated":
        k = normal(1, 1, heads, size) + 1e-3 * k
    step = torch.rand(batch, length, heads, generator=generator, dtype=torch.float64) * 2
    if beta is not None:
        step = torch.full_like(step, beta)
    tensors = [normal(batch, length, heads, size), F.normalize(k, dim=-1), normal(batch, length, heads, size), step]
    if gated:
        tensors.append(-torch.rand(batch, length, heads, generator=generator, dtype=torch.float64))
    return [tensor.to(dtype) for tensor in tensors]


def form(backend, **options):
    """The operator with the final state; with a decay a chunk, that is the last of its arguments."""
    decayed = options.pop("decayed", False)

    def operator(*tensors):
        tensors, decay = (tensors[:-1], tensors[-1]) if decayed else (tensors, None)
        given = {"chunk_decay": decay, "output_final_state": True, "scale": 0.7, "backend": backend}
        return delta_rule(*tensors, **given, **options)

    return operator


def errors(measure, tensors, **options):
    """Of each output and gradient: the largest difference from naive in float64, over the largest value there."""
    expected = measure(form("naive", **options), [tensor.double() for tensor in tensors])
    measured = measure(form("triton", **options), tensors)
    for one, tensor in zip(measured[2:], tensors, strict=True):
        assert one.dtype == tensor.dtype
    return [
        ((one.double() - other).abs().max() / other.abs().max().clamp_min(1)).item()
        for one, other in zip(measured, expected, strict=True)
    ]


@pytest.mark.parametrize(
    ("length", "size", "options"),
    [
        (70, 16, {}),
        (7, 16, {"gated": True}),
        (40, 32, {"gated": True}),
        (33, 64, {"gated": True, "heads": 1}),
        (9, 32, {"beta": 0.0}),
        (40, 16, {"beta": 1.0, "keys": "near-repeated"}),
        (40, 16, {"beta": 2.0, "keys": "near-repeated", "gated": True}),
        (2, 16, {"batch": 2}),
    ],
)
def test_outputs_final_state_and_every_gradient_equal_naive(outputs_and_gradients, length, size, options):
    tensors = arguments(length, size=size, **options)
    assert max(errors(outputs_and_gradients, tensors)) < 1e-11


@pytest.mark.parametrize("inverse_dtype", [None, torch.float16])
@pytest.mark.parametrize(("length", "chunk_size"), [(40, 16), (70, 64)])
def test_a_decay_a_chunk_and_a_rounded_inverse_equal_naive(outputs_and_gradients, length, chunk_size, inverse_dtype):
    tensors = arguments(length)
    # With other numbers a float16 may differ by its last bit: PyTorch rounds float64 to it by way of float32.
    generator = torch.Generator().manual_seed(1)
    tensors.append(torch.rand(1, -(-length // chunk_size), 2, generator=generator, dtype=torch.float64))
    options = {"decayed": True, "chunk_size": chunk_size, "inverse_dtype": inverse_dtype}
    assert max(errors(outputs_and_gradients, tensors, **options)) < 1e-11


def test_a_rounded_inverse_with_a_decay_a_token_equals_naive(outputs_and_gradients):
    tensors = arguments(35, gated=True)
    assert max(errors(outputs_and_gradients, tensors, inverse_dtype=torch.float16)) < 1e-11


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float16, 4e-3)])
@pytest.mark.parametrize("gated", [False, True])
def test_low_precision_stays_close_to_float64(outputs_and_gradients, dtype, tolerance, gated):
    tensors = arguments(40, gated=gated, beta=1.0, dtype=dtype)
    assert max(errors(outputs_and_gradients, tensors)) < tolerance


@pytest.mark.parametrize("chunk_size", [32, 64])
def test_near_repeated_keys_stay_accurate_in_float32(outputs_and_gradients, chunk_size):
    # A truncated or squared power series of the inverse is off by many orders of magnitude here.
    tensors = arguments(64, beta=2.0, keys="near-repeated", dtype=torch.float32)
    tensors.append(torch.ones(1, 64 // chunk_size, 2))
    assert max(errors(outputs_and_gradients, tensors, decayed=True, chunk_size=chunk_size)) < 1e-3


def test_very_strong_decay_neither_overflows_nor_loses_the_present(outputs_and_gradients):
    tensors = arguments(40, gated=True)
    tensors[-1] = tensors[-1] * 1e4
    assert max(errors(outputs_and_gradients, tensors)) < 1e-9


def test_outputs_do_not_depend_on_later_tokens():
    tensors = arguments(70, gated=True, dtype=torch.float32)
    changed = [tensor.clone() for tensor in tensors]
    for tensor in changed:
        tensor[:, 37:] = tensor[:, 37:] * 0.5 - 0.3
    before, after = (form("triton")(*each)[0] for each in (tensors, changed))
    assert torch.equal(before[:, :37], after[:, :37])
    assert not torch.allclose(before[:, 37:], after[:, 37:])


def test_a_sequence_does_not_depend_on_its_batch(outputs_and_gradients):
    tensors = arguments(40, batch=2, dtype=torch.float32)
    operator = form("triton")
    out, state = operator(*tensors)
    alone_out, alone_state = operator(*(tensor[1:] for tensor in tensors))
    assert torch.equal(out[1:], alone_out)
    assert torch.equal(state[1:], alone_state)


def test_the_same_call_gives_the_same_bits_and_strided_inputs_give_them_too(outputs_and_gradients):
    tensors = arguments(40, gated=True, dtype=torch.float32)
    strided = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in tensors]
    assert not strided[0].is_contiguous()
    first, second = (outputs_and_gradients(form("triton"), each) for each in (tensors, tensors))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
    third = form("triton")(*strided)
    assert torch.equal(third[0], first[0])


def test_every_element_is_written_also_of_what_the_backward_pass_reads():
    # torch.empty gives NaN here (conftest.py).
    q, k, v, beta = arguments(40, dtype=torch.float32)
    outputs = torch.ops.archaudit.delta_rule(q, k, v, beta, None, None, None, True, 1.0, 32)
    gradients = torch.ops.archaudit.delta_rule_backward(
        q, k, v, beta, None, None, *outputs[2:], outputs[0], None, None, 1.0
    )
    assert all(x.isfinite().all() for x in (*outputs, *gradients))


def test_without_a_final_state_outputs_are_the_same_and_the_state_alone_has_gradients_too():
    tensors = [tensor.requires_grad_() for tensor in arguments(40)]
    out, state = form("triton")(*tensors)
    assert torch.equal(delta_rule(*tensors, scale=0.7, backend="triton"), out)
    expected = torch.autograd.grad(form("naive")(*tensors)[1].square().sum(), tensors[1:])
    measured = torch.autograd.grad(state.square().sum(), tensors[1:])
    torch.testing.assert_close(measured, expected)


def test_gradcheck_passes_through_the_interpreter():
    tensors = [tensor.requires_grad_() for tensor in arguments(3, heads=1, gated=True)]
    assert torch.autograd.gradcheck(form("triton"), tensors, fast_mode=True)


def test_the_operators_keep_the_rules_of_torch_library():
    tensors = [tensor.requires_grad_() for tensor in arguments(3, heads=1, dtype=torch.float32)]
    decay = torch.rand(1, 1, 1, requires_grad=True)
    given = (*tensors, None, decay, torch.float16, True, 0.7, 16)
    torch.library.opcheck(torch.ops.archaudit.delta_rule.default, given)


def test_torch_compile_sees_one_graph():
    tensors = [tensor.requires_grad_() for tensor in arguments(20, dtype=torch.float32)]
    compiled = torch.compile(form("triton"), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*tensors)[0], form("triton")(*tensors)[0])


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (24, {}, "head sizes K = V of 16, 32 or 64, not 24 and 24"),
        (16, {"inverse_dtype": torch.float16, "chunk_size": 48}, "chunk_size of 16, 32 or 64, not 48"),
    ],
)
def test_what_the_kernels_do_not_serve_is_an_error_when_they_are_asked_for(size, options, message):
    with pytest.raises(ValueError, match=message):
        delta_rule(*arguments(4, size=size), backend="triton", **options)
