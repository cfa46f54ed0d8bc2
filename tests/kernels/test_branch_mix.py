from __future__ import annotations

import pytest
import torch

from kernels.branch_mix import branch_mix, branch_moments


def arguments(count, *, channels=6, dtype=torch.float64):
    """Branches and, last, weights for them."""
    generator = torch.Generator().manual_seed(count)
    shapes = [(2, 5, 3, channels)] * count + [(2, 5, 3, count)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def moments(backend):
    return lambda *branches: branch_moments(branches, backend=backend)


def mix(backend):
    return lambda *tensors: branch_mix(tensors[:-1], tensors[-1], backend=backend)


@pytest.mark.parametrize("backend", ["naive", "chunk"])
def test_statistics_of_a_small_case_are_those_worked_out_by_hand(backend):
    branch = torch.tensor([3.0, -1.0, 0.0, -4.0]).view(1, 1, 1, 4)
    (measured,) = moments(backend)(branch).view(-1, 5).tolist()
    assert measured == pytest.approx([-0.5, 6.25, 2.0, 26.0**0.5, 3.0])


@pytest.mark.parametrize("backend", ["naive", "chunk"])
def test_the_mix_of_a_small_case_is_that_worked_out_by_hand(backend):
    one, other = torch.tensor([1.0, 2.0]).view(1, 1, 1, 2), torch.tensor([10.0, 20.0]).view(1, 1, 1, 2)
    weights = torch.tensor([0.5, -0.1]).view(1, 1, 1, 2)
    assert branch_mix([one, other], weights, backend=backend).flatten().tolist() == pytest.approx([-0.5, -1.0])


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("operator", [moments, mix])
def test_chunk_form_equals_naive_in_outputs_and_every_gradient(outputs_and_gradients, operator, count):
    tensors = arguments(count) if operator is mix else arguments(count)[:-1]
    expected = outputs_and_gradients(operator("naive"), tensors)
    measured = outputs_and_gradients(operator("chunk"), tensors)
    for one, other in zip(measured, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["naive", "chunk"])
def test_a_branch_of_zeros_has_the_gradient_of_its_mean_and_maximum_alone(backend):
    branch = torch.zeros(1, 1, 1, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(moments(backend)(branch).sum(), branch)
    assert gradient.flatten().tolist() == [1.25, 0.25, 0.25, 0.25]


def test_outputs_have_the_dtype_of_the_first_branch():
    *branches, weights = arguments(3, dtype=torch.bfloat16)
    assert branch_moments(branches).dtype == torch.bfloat16
    assert branch_mix(branches, weights.float()).dtype == torch.bfloat16


def test_a_wrong_argument_is_named():
    *branches, weights = arguments(3)
    with pytest.raises(ValueError, match=r"^branches must be a sequence"):
        branch_moments(branches[0])
    with pytest.raises(ValueError, match=r"^branches must be a sequence"):
        branch_mix([], weights)
    with pytest.raises(ValueError, match=r"^branches\[0\] must be a non-empty"):
        branch_moments([branches[0][0]])
    with pytest.raises(ValueError, match=r"^branches\[2\] must have shape"):
        branch_moments([*branches[:2], branches[2][:1]])
    with pytest.raises(ValueError, match=r"^weights must have shape"):
        branch_mix(branches, weights[..., :2])
    with pytest.raises(ValueError, match="auto, naive, chunk"):
        branch_mix(branches, weights, backend="fast")
