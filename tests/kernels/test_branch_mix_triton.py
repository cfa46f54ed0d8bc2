"""The GPU kernels of branch statistics and mixing, run by Triton's interpreter on a CPU."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from kernels.branch_mix import branch_mix, branch_moments
from kernels.branch_mix.triton import _mix, _mix_gradient, _moments, _moments_gradient


def arguments(count, *, shape=(2, 7, 3), channels=5, dtype=torch.float64):
    """Branches and, last, weights for them."""
    generator = torch.Generator().manual_seed(count)
    shapes = [(*shape, channels)] * count + [(*shape, count)]
    return [torch.randn(each, generator=generator, dtype=torch.float64).to(dtype) for each in shapes]


def moments(backend):
    """The statistics as a function of branches and, so that both operators take the same arguments, idle weights."""
    return lambda *tensors: branch_moments(tensors[:-1], backend=backend) + 0 * tensors[-1][..., None]


def mix(backend):
    return lambda *tensors: branch_mix(tensors[:-1], tensors[-1], backend=backend)


both = pytest.mark.parametrize("operator", [moments, mix])


@both
@pytest.mark.parametrize(("count", "channels"), [(1, 1), (2, 5), (4, 64), (8, 3), (3, 200)])
def test_the_kernels_equal_naive_in_outputs_and_every_gradient(outputs_and_gradients, operator, count, channels):
    tensors = arguments(count, channels=channels)
    expected = outputs_and_gradients(operator("naive"), tensors)
    measured = outputs_and_gradients(operator("triton"), tensors)
    for one, other in zip(measured, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@both
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.float16, 2e-3)])
def test_lower_precisions_are_close_to_float64_and_keep_their_dtype(outputs_and_gradients, operator, dtype, error):
    tensors = arguments(3, channels=32, dtype=dtype)
    expected = outputs_and_gradients(operator("naive"), [tensor.double() for tensor in tensors])
    measured = outputs_and_gradients(operator("triton"), tensors)
    for one, other in zip(measured, expected, strict=True):
        assert one.dtype == dtype
        assert (one - other).abs().max() < error * max(1.0, other.abs().max())


def test_half_precision_branches_are_weighted_in_float32():
    *branches, weights = arguments(3, dtype=torch.float32)
    branches = [each.half() for each in branches]
    exact = branch_mix([each.double() for each in branches], weights.double(), backend="naive")
    mixed = branch_mix(branches, weights, backend="triton")
    assert mixed.dtype == torch.float16
    assert (mixed.double() - exact).abs().max() <= 2.0**-11 * exact.abs().max() * 1.01


def test_the_first_of_equal_maxima_has_the_gradient_and_zeros_have_none_of_the_others(outputs_and_gradients):
    ties = torch.tensor([[1.0, 2.0, 2.0, -2.0], [0.0, 0.0, 0.0, 0.0], [-3.0, -3.0, -3.0, -3.0]], dtype=torch.float64)
    tensors = [ties.view(1, 3, 1, 4), torch.zeros(1, 3, 1, 1, dtype=torch.float64)]
    expected = outputs_and_gradients(moments("naive"), tensors)
    measured = outputs_and_gradients(moments("triton"), tensors)
    for one, other in zip(measured, expected, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@both
def test_each_token_and_head_is_alone(operator):
    tensors = arguments(3)
    changed = [tensor.clone() for tensor in tensors]
    for branch in changed[:-1]:
        branch[1, 4, 2, 0] = float("nan")
    before, after = operator("triton")(*tensors), operator("triton")(*changed)
    touched = after.isnan().flatten(3).any(-1)
    assert operator is mix or after[touched].isnan().all()
    assert touched.nonzero().tolist() == [[1, 4, 2]]
    assert torch.equal(before[~touched], after[~touched])


@both
def test_views_need_no_copy_by_the_caller(outputs_and_gradients, operator):
    tensors = arguments(3, channels=4)
    expected = outputs_and_gradients(operator("chunk"), tensors)
    heads_first = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in tensors]
    every_other = [torch.stack([tensor, tensor], -1).flatten(-2)[..., ::2] for tensor in tensors]
    for given in (heads_first, every_other, [heads_first[0], tensors[1], every_other[2], heads_first[3]]):
        leaves = [tensor.detach().requires_grad_() for tensor in given]
        out = operator("triton")(*leaves)
        generator = torch.Generator().manual_seed(99)
        upstream = torch.randn(out.shape, generator=generator, dtype=torch.float64).mT.contiguous().mT
        for one, other in zip([out.detach(), *torch.autograd.grad(out, leaves, upstream)], expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@both
def test_gradients_agree_with_finite_differences(operator):
    leaves = [tensor.requires_grad_() for tensor in arguments(2, shape=(1, 1, 2), channels=3)]
    assert torch.autograd.gradcheck(operator("triton"), leaves)


def test_the_operators_keep_the_contracts_of_torch_library():
    *branches, weights = [tensor.requires_grad_() for tensor in arguments(2, shape=(1, 2, 1), channels=3)]
    torch.library.opcheck(_moments, (branches,))
    torch.library.opcheck(_mix, (branches, weights))
    plain = [tensor.detach() for tensor in branches]
    torch.library.opcheck(_moments_gradient, (plain, torch.ones(1, 2, 1, 2, 5, dtype=torch.float64)))
    torch.library.opcheck(_mix_gradient, (plain, weights.detach(), plain[0]))


@both
def test_the_same_call_gives_the_same_bits(outputs_and_gradients, operator):
    tensors = arguments(3, channels=40, dtype=torch.float32)
    first, second = (outputs_and_gradients(operator("triton"), tensors) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_backend_that_cannot_serve_the_call_is_an_error():
    *branches, weights = arguments(9, shape=(1, 1, 1))
    with pytest.raises(ValueError, match="8 branches at most, not 9"):
        branch_moments(branches, backend="triton")
    with pytest.raises(ValueError, match="4096 channels at most, not 4097"):
        branch_mix([torch.ones(1, 1, 1, 4097)], torch.ones(1, 1, 1, 1), backend="triton")
    with pytest.raises(ValueError, match="has no such form"):
        branch_mix(branches, weights, backend="fla")
