"""What a model's products count as."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kernels.flops import flop_counter


@pytest.mark.parametrize(
    ("convolve", "shape", "weight"),
    [
        (lambda x, w: F.conv1d(x, w, groups=8), (2, 8, 20), (8, 1, 5)),
        (lambda x, w: F.conv1d(x, w), (2, 8, 20), (6, 8, 5)),
        (lambda x, w: F.conv_transpose1d(x, w, groups=2), (2, 8, 20), (8, 3, 5)),
    ],
    ids=["depthwise", "full", "transposed"],
)
def test_the_backward_pass_of_a_convolution_counts_twice_the_forward_pass(convolve, shape, weight):
    x, w = torch.randn(shape, requires_grad=True), torch.randn(weight, requires_grad=True)
    with flop_counter("cpu") as forward:
        y = convolve(x, w)
    with flop_counter("cpu") as backward:
        y.sum().backward()
    assert backward.get_total_flops() == 2 * forward.get_total_flops() > 0


def test_a_gradient_that_nobody_wants_counts_nothing():
    x, w = torch.randn(2, 8, 20), torch.randn(8, 1, 5, requires_grad=True)
    with flop_counter("cpu") as forward:
        y = F.conv1d(x, w, groups=8)
    with flop_counter("cpu") as backward:
        y.sum().backward()
    assert backward.get_total_flops() == forward.get_total_flops()
