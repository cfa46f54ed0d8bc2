"""The stand-ins against formulas written out here, in float64, from fla's published definitions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from replication import compat

SEED = 7


def random(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(SEED + len(shape)), dtype=dtype)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def shapes(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_l2norm_adds_eps_to_the_sum_of_squares_inside_the_root(scale: float) -> None:
    x = scale * random(2, 5, 3, 8)
    expected = x.numpy() / np.sqrt((x.numpy() ** 2).sum(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(compat.l2norm(x).numpy(), expected, rtol=1e-12)


def test_l2norm_of_a_zero_vector_is_zero_with_a_finite_gradient() -> None:
    x = torch.zeros(1, 4, requires_grad=True)
    y = compat.l2norm(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(1, 4))
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full((1, 4), 1e3))


@pytest.mark.parametrize(("affine", "bias", "names"), [
    (True, False, {"weight": (6,)}), (True, True, {"weight": (6,), "bias": (6,)}), (False, True, {}),
])  # fmt: skip
def test_rms_norm_has_the_published_parameters_and_maths(affine: bool, bias: bool, names: dict[str, tuple]) -> None:
    norm = compat.RMSNorm(6, elementwise_affine=affine, bias=bias)
    assert shapes(norm) == names
    assert all((parameter == (name == "weight")).all() for name, parameter in norm.named_parameters())
    norm = norm.double()
    weight, shift = np.ones(6), np.zeros(6)
    with torch.no_grad():
        for name, parameter in norm.named_parameters():
            parameter.copy_(random(6) + (name == "bias"))
            weight, shift = (parameter.numpy(), shift) if name == "weight" else (weight, parameter.numpy())
    x = 0.01 * random(2, 3, 6)
    expected = weight * x.numpy() / np.sqrt((x.numpy() ** 2).mean(-1, keepdims=True) + 1e-5) + shift
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("activation", ["swish", "silu", "sigmoid"])
def test_the_gated_norm_multiplies_the_normalised_input_by_the_gate(activation: str) -> None:
    norm = compat.FusedRMSNormGated(6, eps=1e-3, activation=activation).double()
    assert shapes(norm) == {"weight": (6,)}
    with torch.no_grad():
        norm.weight.copy_(random(6))
    x, g = random(2, 3, 6), random(2, 4, 3, 6)[:, 0]
    normalised = norm.weight.detach().numpy() * x.numpy() / np.sqrt((x.numpy() ** 2).mean(-1, keepdims=True) + 1e-3)
    gate = sigmoid(g.numpy()) * (1 if activation == "sigmoid" else g.numpy())
    np.testing.assert_allclose(norm(x, g).detach().numpy(), normalised * gate, rtol=1e-12)


def test_the_gated_norm_uses_swish_by_default_and_refuses_other_gates() -> None:
    assert compat.FusedRMSNormGated(4).activation == "swish"
    with pytest.raises(ValueError, match="relu"):
        compat.FusedRMSNormGated(4, activation="relu")


@pytest.mark.parametrize("module", [compat.RMSNorm(16), compat.ShortConvolution(16, 4)])
def test_bfloat16_inputs_are_reduced_in_float32_and_rounded_once(module: torch.nn.Module) -> None:
    x = random(2, 9, 16, dtype=torch.float32).bfloat16()
    y, wide = (out[0] if isinstance(out, tuple) else out for out in (module(x), module(x.float())))
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, wide.bfloat16())


def convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, silu: bool) -> np.ndarray:
    """y[t, d] = sum_w weight[d, w] * x[t - (W - 1) + w, d] + bias[d], then SiLU; x is [T, D]."""
    taps = weight.shape[1]
    y = np.tile(bias, (len(x), 1))
    for t in range(len(x)):
        for w in range(taps):
            if t - taps + 1 + w >= 0:
                y[t] += weight[:, w] * x[t - taps + 1 + w]
    return y * sigmoid(y) if silu else y


@pytest.mark.parametrize(("activation", "bias"), [("silu", False), ("swish", True), (None, True)])
def test_the_short_convolution_has_the_published_parameters_and_maths(activation: str | None, bias: bool) -> None:
    layer = compat.ShortConvolution(3, 4, bias=bias, activation=activation).double()
    assert shapes(layer) == {"weight": (3, 1, 4)} | ({"bias": (3,)} if bias else {})
    x = random(2, 7, 3)
    y, state = layer(x)
    shift = layer.bias.detach().numpy() if bias else np.zeros(3)
    for row in range(2):
        expected = convolution(x[row].numpy(), layer.weight.detach().numpy()[:, 0], shift, activation is not None)
        np.testing.assert_allclose(y[row].detach().numpy(), expected, rtol=1e-9, atol=1e-12)
    assert state is None


def test_the_short_convolution_starts_as_torch_starts_a_depthwise_convolution() -> None:
    torch.manual_seed(0)
    layer = compat.ShortConvolution(8, 4, bias=True)
    torch.manual_seed(0)
    reference = torch.nn.Conv1d(8, 8, 4, groups=8)
    assert torch.equal(layer.weight, reference.weight)
    assert torch.equal(layer.bias, reference.bias)
    assert layer.activation == "silu"
    assert compat.ShortConvolution(8, 4).bias is None


@pytest.mark.parametrize("cut", [1, 2, 6])
def test_a_convolution_continued_from_its_state_equals_one_pass(cut: int) -> None:
    layer = compat.ShortConvolution(3, 4).double()
    x = random(2, 8, 3)
    whole, _ = layer(x)
    first, state = layer(x[:, :cut], output_final_state=True)
    assert state.shape == (2, 3, 4)
    parts = [first]
    for t in range(cut, 8):
        y, state = layer(x[:, t : t + 1], cache=state, output_final_state=True)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    torch.testing.assert_close(state, x[:, -4:].transpose(1, 2), check_dtype=True)


def test_packed_sequences_do_not_see_each_other() -> None:
    layer = compat.ShortConvolution(3, 4).double()
    x = random(1, 9, 3)
    packed, states = layer(x, cu_seqlens=torch.tensor([0, 2, 9]), output_final_state=True)
    alone = [layer(piece, output_final_state=True) for piece in (x[:, :2], x[:, 2:])]
    torch.testing.assert_close(packed, torch.cat([y for y, _ in alone], dim=1))
    torch.testing.assert_close(states, torch.cat([state for _, state in alone]))


def test_unpadding_and_padding_are_inverse_on_valid_tokens() -> None:
    mask = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 1]])
    x = random(2, 4, 5)
    indices, cu_seqlens, longest = compat.get_unpad_data(mask)
    assert (indices.tolist(), cu_seqlens.tolist(), longest) == ([1, 2, 3, 7], [0, 3, 4], 3)
    assert cu_seqlens.dtype == torch.int32
    tokens = compat.index_first_axis(x.flatten(0, 1), indices)
    assert torch.equal(compat.pad_input(tokens, indices, 2, 4), x * mask[..., None])


def test_the_cache_keeps_the_latest_state_of_each_layer_and_counts_tokens_once() -> None:
    cache = compat.Cache()
    for step in range(2):
        for layer in range(3):
            cache.update(recurrent_state=(step, layer), conv_state=None, layer_idx=layer, offset=5)
    assert [state["recurrent_state"] for state in cache] == [(1, 0), (1, 1), (1, 2)]
    assert (len(cache), cache.get_seq_length(), cache.get_seq_length(3)) == (3, 10, 0)
    with pytest.raises(KeyError, match="layer 3"):
        cache[3]


def test_products_of_bfloat16_and_float32_are_taken_in_float32() -> None:
    a, b = random(2, 3, 3, dtype=torch.float32).bfloat16(), random(2, 3, 4, dtype=torch.float32)
    with pytest.raises(RuntimeError):
        a @ b
    with compat.promote_matmul():
        products = [a @ b, torch.matmul(a, b), a.matmul(b), torch.bmm(a, b)]
        same = a @ a
    assert all(torch.equal(product, a.float() @ b) for product in products)
    assert same.dtype == torch.bfloat16
    with pytest.raises(RuntimeError):
        a @ b


INSTALLED = """
import importlib.util, sys, torch
from replication import compat
real = torch.compile
assert compat.install("cpu") == "stand-ins" == compat.install()
from fla.modules import FusedRMSNormGated, RMSNorm, ShortConvolution
from fla.modules.l2norm import l2_norm, l2norm
from fla.layers.utils import get_unpad_data, index_first_axis, pad_input
from fla.models.utils import Cache
from transformers.processing_utils import Unpack
assert RMSNorm is compat.RMSNorm and l2_norm is l2norm is compat.l2norm
assert importlib.util.find_spec("fla.modules") is not None
def f(x): return x + 1
assert torch.compile(f) is f and torch.compile(dynamic=True)(f) is f and compat.torch_compile_is_off()
assert "torch._inductor" not in sys.modules
try:
    import fla.ops
except ModuleNotFoundError as error:
    assert error.name == "fla.ops"
else:
    raise AssertionError("fla.ops was found")
"""


def test_a_process_that_installs_the_stand_ins_finds_them_under_the_published_names() -> None:
    root = Path(compat.__file__).parents[2]
    subprocess.run([sys.executable, "-c", INSTALLED], check=True, cwd=root)


def test_the_gradient_of_each_stand_in_agrees_with_finite_differences() -> None:
    x, g = random(1, 5, 4).requires_grad_(), random(1, 5, 4).add(0.3).requires_grad_()
    layer, gated = compat.ShortConvolution(4, 3).double(), compat.FusedRMSNormGated(4).double()
    functions = (compat.l2norm, compat.RMSNorm(4).double(), lambda x: layer(x)[0])
    assert all(torch.autograd.gradcheck(function, (x,)) for function in functions)
    assert torch.autograd.gradcheck(gated, (x, g))


def test_the_stand_ins_are_never_put_in_place_by_an_import_alone() -> None:
    probe = "import sys, replication.candidate; assert 'fla' not in sys.modules"
    subprocess.run([sys.executable, "-c", probe], check=True, cwd=Path(compat.__file__).parents[2])
