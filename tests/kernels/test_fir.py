from __future__ import annotations

import pytest
import torch

from kernels import fir


def arguments(length, widths, *, channels=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(length)
    shapes = [(2, length, channels), *((channels, width) for width in widths)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def form(backend):
    return lambda x, *filters: fir(x, filters, backend=backend)


@pytest.mark.parametrize("backend", ["naive", "chunk"])
def test_the_last_tap_multiplies_the_current_input_and_the_first_the_oldest(backend):
    x = torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1)
    (out,) = fir(x, [torch.tensor([[5.0, 2.0]])], backend=backend)
    assert out.flatten().tolist() == [2.0, 25.0, 250.0]


@pytest.mark.parametrize("widths", [(4,), (3, 31), (64, 1, 5)])
@pytest.mark.parametrize("length", [1, 63, 64, 100, 257])
def test_chunk_form_equals_naive_in_outputs_and_every_gradient(outputs_and_gradients, length, widths):
    tensors = arguments(length, widths)
    expected = outputs_and_gradients(form("naive"), tensors)
    measured = outputs_and_gradients(form("chunk"), tensors)
    for one, other in zip(measured, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("channels", [1, 3, 16, 24])
@pytest.mark.parametrize("length", [1, 5, 128])
def test_float32_is_close_to_float64(outputs_and_gradients, length, channels):
    tensors = arguments(length, (4, 31), channels=channels, dtype=torch.float32)
    expected = outputs_and_gradients(form("chunk"), [tensor.double() for tensor in tensors])
    measured = outputs_and_gradients(form("chunk"), tensors)
    for one, other in zip(measured, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).abs().max() < 1e-5 * max(1.0, other.abs().max())


@pytest.mark.parametrize("cut", [1, 31, 63])
def test_outputs_do_not_depend_on_later_tokens(assert_causal, cut):
    x, short, long = arguments(80, (4, 64))
    assert_causal(lambda x: fir(x, [short])[0], [x], cut)
    assert_causal(lambda x: fir(x, [long])[0], [x], cut)


def test_outputs_have_the_dtype_of_the_input():
    x, taps = arguments(9, (4,), dtype=torch.bfloat16)
    assert fir(x, [taps.float()])[0].dtype == torch.bfloat16


def test_a_wrong_argument_is_named():
    x, taps = arguments(9, (4,))
    with pytest.raises(ValueError, match=r"^x must"):
        fir(x[0], [taps])
    with pytest.raises(ValueError, match=r"^filters must be a sequence"):
        fir(x, taps)
    with pytest.raises(ValueError, match=r"^filters must be a sequence"):
        fir(x, [])
    with pytest.raises(ValueError, match=r"^filters\[1\] must have shape"):
        fir(x, [taps, taps[:-1]])
    with pytest.raises(ValueError, match=r"^filters\[0\] must"):
        fir(x, [taps[:, :0]])
    with pytest.raises(ValueError, match="auto, naive, chunk"):
        fir(x, [taps], backend="fast")


def test_a_filter_of_one_tap_scales_each_channel():
    x = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (y,) = fir(x, [torch.tensor([[2.0], [-1.0], [0.5]], dtype=torch.float64)])
    assert torch.equal(y, x * torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64))
