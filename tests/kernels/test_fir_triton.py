"""The filters' GPU kernels, run by Triton's interpreter on a CPU."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from kernels import fir
from kernels.fir.triton import _fir, _fir_filter_gradient, _fir_input_gradient


def arguments(length, widths, *, batch=2, channels=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(length)
    shapes = [(batch, length, channels), *((channels, width) for width in widths)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def form(backend):
    return lambda x, *filters: fir(x, filters, backend=backend)


@pytest.mark.parametrize(
    ("length", "widths"),
    [(1, (4,)), (5, (3, 7)), (33, (4, 1, 2)), (37, (5,)), (63, (3,)), (3, (31,))],
)
def test_the_kernels_equal_naive_in_outputs_and_every_gradient(outputs_and_gradients, length, widths):
    tensors = arguments(length, widths)
    expected = outputs_and_gradients(form("naive"), tensors)
    measured = outputs_and_gradients(form("triton"), tensors)
    for one, other in zip(measured, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_the_gradient_of_a_filter_is_summed_over_segments_and_sequences(outputs_and_gradients):
    tensors = arguments(259, (2,), channels=1)
    expected = outputs_and_gradients(form("chunk"), tensors)
    measured = outputs_and_gradients(form("triton"), tensors)
    for one, other in zip(measured, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("length", "channels"), [(520, 2), (2, 70)])
def test_large_tiles_give_the_same(outputs_and_gradients, length, channels):
    tensors = arguments(length, (2,), batch=1, channels=channels)
    expected = outputs_and_gradients(form("chunk"), tensors)
    measured = outputs_and_gradients(form("triton"), tensors)
    for one, other in zip(measured, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float16, 1e-2)])
def test_lower_precisions_are_close_to_float64_and_keep_their_dtype(outputs_and_gradients, dtype, error):
    tensors = arguments(21, (3, 6), batch=1, dtype=dtype)
    expected = outputs_and_gradients(form("chunk"), [tensor.double() for tensor in tensors])
    measured = outputs_and_gradients(form("triton"), tensors)
    for one, other in zip(measured, expected, strict=True):
        assert one.dtype == dtype
        assert (one - other).abs().max() < error * max(1.0, other.abs().max())


def test_half_precision_inputs_are_filtered_by_float32_taps_without_rounding_them():
    x, taps = arguments(9, (4,), batch=1)
    x, taps = x.half(), taps.float()
    (out,) = fir(x, [taps], backend="triton")
    (exact,) = fir(x.double(), [taps.double()], backend="naive")
    assert out.dtype == torch.float16
    assert torch.equal(out, exact.half())


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("later", [7.0, float("inf"), float("nan")])
def test_later_inputs_leave_earlier_outputs_exactly_alone(later):
    x, short, long = arguments(40, (2, 7), batch=1)
    changed = x.clone()
    changed[:, 34:] = later
    for before, after in zip(form("triton")(x, short, long), form("triton")(changed, short, long), strict=True):
        assert torch.equal(before[:, :34], after[:, :34])
        assert not torch.equal(before[:, 34:], after[:, 34:])


def test_inputs_older_than_the_filter_have_no_effect_even_if_infinite():
    x, taps = arguments(20, (5,), batch=1)
    changed = x.clone()
    changed[:, 3] = float("inf")
    (before,), (after,) = form("triton")(x, taps), form("triton")(changed, taps)
    assert torch.equal(before[:, 8:], after[:, 8:])
    assert not after[:, 3:8].isfinite().any()


def test_sequences_of_a_batch_do_not_meet(outputs_and_gradients):
    x, taps = arguments(18, (5,), batch=3)
    (together,) = form("triton")(x, taps)
    for index in range(3):
        (alone,) = form("triton")(x[index : index + 1], taps)
        assert torch.equal(alone[0], together[index])


def test_views_need_no_copy_by_the_caller(outputs_and_gradients):
    x, taps = arguments(10, (5,))
    wide = torch.full((4, 12, 5), float("nan"), dtype=x.dtype)
    wide[1:3, 1:11, 1:4] = x
    views = [wide[1:3, 1:11, 1:4], taps.t().contiguous().t()]
    expected = outputs_and_gradients(form("chunk"), [x, taps])
    for given in (views, [x.mT.contiguous().mT, taps]):
        leaves = [tensor.detach().requires_grad_() for tensor in given]
        (out,) = form("triton")(*leaves)
        generator = torch.Generator().manual_seed(99)
        upstream = torch.randn(out.shape, generator=generator, dtype=torch.float64)
        upstream = upstream.mT.contiguous().mT
        measured = [out.detach(), *torch.autograd.grad(out, leaves, upstream)]
        for one, other in zip(measured, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_an_output_that_is_not_used_has_no_part_in_the_gradients():
    x, used, unused = [tensor.requires_grad_() for tensor in arguments(9, (3, 4), batch=1)]
    out, _ = form("triton")(x, used, unused)
    dx, dused, dunused = torch.autograd.grad(out.square().sum(), [x, used, unused], allow_unused=True)
    (expected,) = form("naive")(x, used)
    for one, other in zip((dx, dused), torch.autograd.grad(expected.square().sum(), [x, used]), strict=True):
        torch.testing.assert_close(one, other)
    assert dunused is None or not dunused.any()


def test_gradients_agree_with_finite_differences():
    leaves = [tensor.requires_grad_() for tensor in arguments(3, (2,), batch=1, channels=1)]
    assert torch.autograd.gradcheck(form("triton"), leaves)


def test_the_operators_keep_the_contracts_of_torch_library():
    x, short, long = [tensor.requires_grad_() for tensor in arguments(3, (2, 3), batch=1, channels=2)]
    torch.library.opcheck(_fir, (x, [short, long]))
    grads = [torch.ones_like(x) for _ in range(2)]
    plain = [tensor.detach() for tensor in (short, long)]
    torch.library.opcheck(_fir_input_gradient, (plain, grads))
    torch.library.opcheck(_fir_filter_gradient, (x.detach(), plain, grads))


def test_the_same_call_gives_the_same_bits(outputs_and_gradients):
    tensors = arguments(70, (5,), batch=1, channels=2, dtype=torch.float32)
    first, second = (outputs_and_gradients(form("triton"), tensors) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_backend_that_cannot_serve_the_call_is_an_error():
    x, taps = arguments(9, (4,))
    with pytest.raises(ValueError, match=r"backend 'fla' cannot serve this call of fir"):
        fir(x, [taps], backend="fla")
