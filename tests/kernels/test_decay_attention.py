from __future__ import annotations

import pytest
import torch

from kernels import decay_attention

B, H, K, V = 2, 2, 6, 5
DECAYS = ["none", "head", "channel"]


def arguments(length, kind, *, decay=1.0, dtype=torch.float64):
    """q, k, v, and log_decay between -decay and 0: none, one a head, or one a key channel."""
    generator = torch.Generator().manual_seed(length)
    shapes = [(B, length, H, K), (B, length, H, K), (B, length, H, V)]
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    if kind != "none":
        shape = (B, length, H) if kind == "head" else (B, length, H, K)
        tensors.append(-decay * torch.rand(shape, generator=generator, dtype=torch.float64))
    return [tensor.to(dtype) for tensor in tensors]


def form(backend, chunk_size=None):
    return lambda *tensors: decay_attention(*tensors, scale=0.7, chunk_size=chunk_size, backend=backend)


def assert_same(measure, tensors, chunk_size=None, tolerance=1e-9):
    expected = measure(form("naive"), tensors)
    measured = measure(form("chunk", chunk_size), tensors)
    for number, (one, other) in enumerate(zip(measured, expected, strict=True)):
        allowed = tolerance * max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, rtol=0, atol=allowed, msg=lambda m, n=number: f"tensor {n}: {m}")


def test_the_naive_form_is_causal_attention_weighted_by_the_decay_between_tokens():
    q, k, v, log_decay = arguments(7, "head")
    total = log_decay.cumsum(1)
    fade = torch.ones(7, 7, dtype=torch.float64).tril()[..., None] * (total[:, :, None] - total[:, None]).exp()
    expected = torch.einsum("bihk,bjhk,bijh,bjhv->bihv", q, k, fade, v)
    torch.testing.assert_close(decay_attention(q, k, v, log_decay, backend="naive"), expected)


@pytest.mark.parametrize("kind", DECAYS)
@pytest.mark.parametrize("length", [1, 63, 64, 100, 257])
def test_chunk_form_equals_naive_in_outputs_and_every_gradient(outputs_and_gradients, length, kind):
    assert_same(outputs_and_gradients, arguments(length, kind))


@pytest.mark.parametrize("kind", DECAYS)
@pytest.mark.parametrize("chunk_size", [1, 7, 50, 128])
def test_the_chunk_size_does_not_change_the_result(outputs_and_gradients, chunk_size, kind):
    assert_same(outputs_and_gradients, arguments(100, kind), chunk_size)


@pytest.mark.parametrize("kind", ["head", "channel"])
@pytest.mark.parametrize("decay", [100.0, 1e4])
@pytest.mark.parametrize("chunk_size", [None, 64])
def test_very_strong_decay_neither_overflows_nor_loses_the_present(outputs_and_gradients, chunk_size, decay, kind):
    assert_same(outputs_and_gradients, arguments(100, kind, decay=decay), chunk_size)


def test_the_same_decay_in_every_channel_is_a_decay_of_the_head():
    q, k, v, log_decay = arguments(100, "head")
    per_channel = log_decay[..., None].expand(B, 100, H, K)
    torch.testing.assert_close(decay_attention(q, k, v, per_channel), decay_attention(q, k, v, log_decay))


@pytest.mark.parametrize("kind", DECAYS)
def test_float32_is_close_to_float64(outputs_and_gradients, kind):
    tensors = arguments(128, kind, dtype=torch.float32)
    expected = outputs_and_gradients(form("naive"), [tensor.double() for tensor in tensors])
    measured = outputs_and_gradients(form("chunk"), tensors)
    for one, other in zip(measured, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).abs().max() < 1e-5 * other.abs().max()


@pytest.mark.parametrize("kind", DECAYS)
@pytest.mark.parametrize("cut", [20, 32, 63])
def test_outputs_do_not_depend_on_later_tokens(assert_causal, cut, kind):
    assert_causal(form("chunk"), arguments(80, kind), cut)


def test_bfloat16_is_computed_in_float32_and_returned_in_the_dtype_of_v():
    tensors = arguments(40, "channel", dtype=torch.bfloat16)
    out = decay_attention(*tensors)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, decay_attention(*[tensor.float() for tensor in tensors]).bfloat16())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("q", lambda t: t[0]),
        ("k", lambda t: t[..., :-1]),
        ("v", lambda t: t[:, :-1]),
        ("log_decay", lambda t: t[..., :-1]),
        ("log_decay", lambda t: t[..., 0, :1]),
        ("v", lambda t: t.long()),
    ],
)
def test_a_wrong_argument_is_named(name, change):
    tensors = dict(zip(("q", "k", "v", "log_decay"), arguments(9, "channel"), strict=True))
    with pytest.raises(ValueError, match=rf"^{name} must"):
        decay_attention(**{**tensors, name: change(tensors[name])})


def test_unknown_backend_and_chunk_size_are_refused():
    tensors = arguments(4, "none")
    with pytest.raises(ValueError, match="auto, naive, chunk"):
        decay_attention(*tensors, backend="fast")
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        decay_attention(*tensors, chunk_size=0)
