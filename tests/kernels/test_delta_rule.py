from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from kernels import delta_rule

B, H, K, V = 2, 2, 6, 5


def arguments(length, *, gated, beta=None, decay=1.0, keys="random", dtype=torch.float64, key_dim=K):
    """q, k, v, beta (and log_decay): keys of unit length, beta in (0, 2) unless given."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    k = normal(B, length, H, key_dim)
    if keys == "near-repeated":
        k = normal(1, 1, H, key_dim) + 1e-3 * k
    step = torch.rand(B, length, H, generator=generator, dtype=torch.float64) * 2
    tensors = [normal(B, length, H, key_dim), F.normalize(k, dim=-1), normal(B, length, H, V)]
    tensors.append(step if beta is None else beta - 1e-3 * step)
    if gated:
        tensors.append(-decay * torch.rand(B, length, H, generator=generator, dtype=torch.float64))
    return [tensor.to(dtype) for tensor in tensors]


def form(backend, chunk_size=32):
    return lambda *tensors: delta_rule(*tensors, scale=0.7, chunk_size=chunk_size, backend=backend)


def assert_same(measure, tensors, chunk_size=32, tolerance=1e-9):
    expected = measure(form("naive"), tensors)
    measured = measure(form("chunk", chunk_size), tensors)
    for number, (one, other) in enumerate(zip(measured, expected, strict=True)):
        allowed = tolerance * max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, rtol=0, atol=allowed, msg=lambda m, n=number: f"tensor {n}: {m}")


def test_the_naive_form_recalls_a_value_written_with_beta_one():
    _, k, v, _ = arguments(3, gated=False)
    out = delta_rule(k, k, v, torch.ones(B, 3, H, dtype=torch.float64), backend="naive")
    torch.testing.assert_close(out, v)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("length", [1, 63, 64, 100, 257])
def test_chunk_form_equals_naive_in_outputs_and_every_gradient(outputs_and_gradients, length, gated):
    assert_same(outputs_and_gradients, arguments(length, gated=gated))


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("chunk_size", [1, 7, 50, 64, 128])
def test_the_chunk_size_does_not_change_the_result(outputs_and_gradients, chunk_size, gated):
    assert_same(outputs_and_gradients, arguments(100, gated=gated), chunk_size)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("beta", [1.0, 2.0])
@pytest.mark.parametrize("chunk_size", [32, 128])
def test_near_repeated_keys_stay_accurate(outputs_and_gradients, chunk_size, beta, gated):
    tensors = arguments(128, gated=gated, beta=beta, decay=0.01, keys="near-repeated")
    assert_same(outputs_and_gradients, tensors, chunk_size)


@pytest.mark.parametrize("chunk_size", [32, 128])
def test_near_repeated_keys_stay_accurate_in_float32(outputs_and_gradients, chunk_size):
    # A truncated or squared power series of the inverse is off by many orders of magnitude here.
    tensors = arguments(128, gated=False, beta=2.0, keys="near-repeated", dtype=torch.float32)
    expected = outputs_and_gradients(form("naive"), [tensor.double() for tensor in tensors])
    measured = outputs_and_gradients(form("chunk", chunk_size), tensors)
    for one, other in zip(measured, expected, strict=True):
        assert (one - other).abs().max() < 1e-3 * other.abs().max()


@pytest.mark.parametrize("decay", [100.0, 1e4])
def test_very_strong_decay_neither_overflows_nor_loses_the_present(outputs_and_gradients, decay):
    assert_same(outputs_and_gradients, arguments(100, gated=True, decay=decay))


@pytest.mark.parametrize("gated", [False, True])
def test_float32_is_close_to_float64(outputs_and_gradients, gated):
    tensors = arguments(128, gated=gated, beta=1.0, key_dim=16, dtype=torch.float32)
    expected = outputs_and_gradients(form("naive"), [tensor.double() for tensor in tensors])
    measured = outputs_and_gradients(form("chunk"), tensors)
    for one, other in zip(measured, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).abs().max() < 2e-5 * other.abs().max()


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("cut", [20, 32, 63])
def test_outputs_do_not_depend_on_later_tokens(assert_causal, cut, gated):
    assert_causal(form("chunk"), arguments(80, gated=gated), cut)


def test_bfloat16_is_computed_in_float32_and_returned_in_the_dtype_of_v():
    tensors = arguments(40, gated=True, dtype=torch.bfloat16)
    out = delta_rule(*tensors)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, delta_rule(*[tensor.float() for tensor in tensors]).bfloat16())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("q", lambda t: t[0]),
        ("k", lambda t: t[..., :-1]),
        ("v", lambda t: t[:, :-1]),
        ("beta", lambda t: t[..., None]),
        ("log_decay", lambda t: t[..., :1]),
        ("k", lambda t: t.long()),
    ],
)
def test_a_wrong_argument_is_named(name, change):
    tensors = dict(zip(("q", "k", "v", "beta", "log_decay"), arguments(9, gated=True), strict=True))
    with pytest.raises(ValueError, match=rf"^{name} must"):
        delta_rule(**{**tensors, name: change(tensors[name])})


def test_unknown_backend_and_chunk_size_are_refused():
    tensors = arguments(4, gated=False)
    with pytest.raises(ValueError, match="naive, chunk, auto"):
        delta_rule(*tensors, backend="fast")
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        delta_rule(*tensors, chunk_size=0)
