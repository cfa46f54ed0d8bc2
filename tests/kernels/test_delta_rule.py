from __future__ import annotations

import importlib
import sys
import types

import pytest
import torch
from torch.nn import functional as F

from kernels import delta_rule
from kernels.delta_rule import _fla_limit, _triton_limit

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


def with_final_state(backend, tensors, chunk_size, *, chunk_decay=False, inverse_dtype=None):
    """The operator and its leaves: outputs and final state; the decay of each chunk is the last leaf if asked for."""
    B, T, H, _ = tensors[0].shape
    leaves = [*tensors, chunk_decays(B, -(-T // chunk_size), H).to(tensors[0].dtype)] if chunk_decay else tensors

    def operator(*given):
        given, decay = (given[:-1], given[-1]) if chunk_decay else (given, None)
        options = {"inverse_dtype": inverse_dtype, "chunk_size": chunk_size, "backend": backend}
        return delta_rule(*given, chunk_decay=decay, output_final_state=True, scale=0.7, **options)

    return operator, leaves


def chunk_decays(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize(
    ("gated", "chunk_decay", "inverse_dtype"),
    [
        (False, False, None),
        (True, False, None),
        (False, True, None),
        (False, False, torch.bfloat16),
        (True, False, torch.bfloat16),
        (False, True, torch.float16),
    ],
)
@pytest.mark.parametrize(("length", "chunk_size"), [(1, 32), (20, 32), (64, 32), (75, 16)])
def test_the_final_state_and_each_option_equal_naive(
    outputs_and_gradients, length, chunk_size, gated, chunk_decay, inverse_dtype
):
    options = {"chunk_decay": chunk_decay, "inverse_dtype": inverse_dtype}
    tensors = arguments(length, gated=gated)
    expected, measured = (
        outputs_and_gradients(*with_final_state(backend, tensors, chunk_size, **options))
        for backend in ("naive", "chunk")
    )
    for one, other in zip(measured, expected, strict=True):
        assert (one - other).abs().max() <= 1e-9 * max(1.0, other.abs().max().item())


def test_the_final_state_is_what_the_next_query_reads():
    q, k, v, beta = arguments(41, gated=False)
    out, state = delta_rule(q, k, v, beta, output_final_state=True)
    torch.testing.assert_close(torch.einsum("bhk,bhkv->bhv", q[:, -1], state), out[:, -1])


def test_zeros_after_the_last_token_change_nothing_even_with_a_decay_a_chunk():
    tensors = arguments(41, gated=False)
    padded = [F.pad(x, (0, 0) * (x.dim() - 2) + (0, 23)) for x in tensors]
    options = {"chunk_decay": chunk_decays(B, 2, H), "inverse_dtype": torch.bfloat16, "output_final_state": True}
    out, state = delta_rule(*tensors, **options)
    long_out, long_state = delta_rule(*padded, **options)
    torch.testing.assert_close(long_out[:, :41], out)
    torch.testing.assert_close(long_state, state)


def test_a_decay_of_one_a_chunk_is_no_decay():
    tensors = arguments(70, gated=False)
    out = delta_rule(*tensors, chunk_decay=torch.ones(B, 3, H, dtype=torch.float64))
    torch.testing.assert_close(out, delta_rule(*tensors))


def test_the_rounded_inverse_is_that_of_the_row_by_row_recurrence():
    # One chunk with unit queries and keys in the value's place reads the inverse itself: W = T (beta K).
    _, k, v, beta = arguments(12, gated=False)
    _, state = delta_rule(k, k, v, beta, inverse_dtype=torch.bfloat16, output_final_state=True)
    k_BHTK, v_BHTV, beta_BHT1 = k.transpose(1, 2), v.transpose(1, 2), beta.transpose(1, 2)[..., None]
    inverse = torch.zeros(B, H, 12, 12, dtype=torch.float64)
    system = beta_BHT1 * k_BHTK @ k_BHTK.mT
    for i in range(12):
        inverse[..., i, :i] = -torch.einsum("bhj,bhjm->bhm", system[..., i, :i], inverse[..., :i, :i])
        inverse[..., i, i] = 1
    change = inverse.bfloat16().double() @ (beta_BHT1 * v_BHTV)
    torch.testing.assert_close(state, k_BHTK.mT @ change)
    assert not torch.allclose(state, delta_rule(k, k, v, beta, output_final_state=True)[1])


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk_decay": torch.ones(B, 2, H)}, "chunk_decay must have shape"),
        ({"chunk_decay": torch.ones(B, 1, H), "log_decay": torch.zeros(B, 9, H)}, "exclude each other"),
        ({"inverse_dtype": torch.float32}, "inverse_dtype must be torch.bfloat16"),
        ({"backend": "triton"}, "head sizes K = V of 16, 32 or 64, not 6 and 5"),
        ({"backend": "fla"}, "flash-linear-attention|CUDA"),
    ],
)
def test_an_option_that_cannot_be_served_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        delta_rule(*arguments(9, gated=False), **options)


def test_flash_linear_attention_is_given_our_scale_and_each_argument_by_its_meaning(monkeypatch):
    def plain(q, k, v, beta, *, scale, output_final_state):
        return delta_rule(q, k, v, beta, scale=scale, output_final_state=True, backend="naive")

    def gated(q, k, v, g, beta, *, scale, output_final_state):
        return delta_rule(q, k, v, beta, g, scale=scale, output_final_state=True, backend="naive")

    stand_ins = {"delta_rule": {"chunk_delta_rule": plain}, "gated_delta_rule": {"chunk_gated_delta_rule": gated}}
    for name, functions in stand_ins.items():
        module = types.ModuleType(f"fla.ops.{name}")
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("fla", "fla.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.delitem(sys.modules, "kernels.delta_rule.fla", raising=False)
    form = importlib.import_module("kernels.delta_rule.fla")
    for is_gated in (False, True):
        q, k, v, beta, *decay = arguments(9, gated=is_gated)
        expected = delta_rule(q, k, v, beta, *decay, scale=0.7, output_final_state=True)
        measured = form.delta_rule_fla(q, k, v, beta, decay[0] if decay else None, True, 0.7)
        torch.testing.assert_close(measured, expected)
    monkeypatch.delitem(sys.modules, "kernels.delta_rule.fla")


@pytest.mark.parametrize(
    ("change", "served"),
    [
        ({}, True),
        ({"inverse_dtype": torch.bfloat16}, False),
        ({"chunk_decay": torch.ones(1, 1, 2)}, False),
        ({"dtype": torch.float32}, False),
        ({"size": 512}, False),
    ],
)
def test_large_heads_in_low_precision_are_left_to_flash_linear_attention(change, served):
    change = {"inverse_dtype": None, "chunk_decay": None, "dtype": torch.bfloat16, "size": 128} | change
    q = torch.ones(1, 4, 2, change["size"], dtype=change["dtype"])
    beta, decay, inverse = q[..., 0], change["chunk_decay"], change["inverse_dtype"]
    assert (_fla_limit(q, q, q, beta, None, decay, inverse) is None) == served
    assert _triton_limit(q, q, q, beta, None, decay, inverse, 32) is not None


def test_unknown_backend_and_chunk_size_are_refused():
    tensors = arguments(4, gated=False)
    with pytest.raises(ValueError, match="auto, naive, chunk"):
        delta_rule(*tensors, backend="fast")
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        delta_rule(*tensors, chunk_size=0)
