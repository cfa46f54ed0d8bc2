from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def uninitialised_memory_is_nan():
    """Deterministic mode fills memory from torch.empty with NaN, so that reading unwritten memory shows."""
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    assert torch.empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = filled


@pytest.fixture
def outputs_and_gradients():
    """function(operator, tensors) -> the outputs, then the gradients of a random projection."""

    def measure(operator, tensors):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        outputs = operator(*leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        generator = torch.Generator().manual_seed(99)
        projections = [torch.randn(o.shape, generator=generator, dtype=torch.float64) for o in outputs]
        loss = sum((o * p.to(o.dtype)).sum() for o, p in zip(outputs, projections, strict=True))
        return [o.detach() for o in outputs] + list(torch.autograd.grad(loss, leaves))

    return measure


@pytest.fixture
def assert_causal():
    """function(operator, tensors, cut): outputs before `cut` ignore changes from `cut` on."""

    def check(operator, tensors, cut):
        changed = [tensor.clone() for tensor in tensors]
        for tensor in changed:
            tensor[:, cut:] = tensor[:, cut:] * 0.5 - 0.3
        before, after = operator(*tensors), operator(*changed)
        torch.testing.assert_close(before[:, :cut], after[:, :cut], rtol=1e-12, atol=1e-12)
        assert (before[:, cut:] - after[:, cut:]).abs().max() > 1e-3

    return check
