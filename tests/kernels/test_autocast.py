"""Within autocast an operator computes as it does without, and its backward pass fits its forward pass."""

from __future__ import annotations

import pytest
import torch

from kernels import branch_mix, branch_moments, decay_attention, delta_rule, fir, gated_norm, head_gate

SHAPES = {
    "q": (2, 9, 2, 4), "k": (2, 9, 2, 4), "v": (2, 9, 2, 4), "beta": (2, 9, 2), "decay": (2, 9, 2), "x": (2, 9, 8),
    "f3": (8, 3), "f5": (8, 5), "gate": (2, 9, 8), "weight": (8,), "a": (2, 9, 2, 4), "b": (2, 9, 2, 4),
    "mix": (2, 9, 2, 2), "s": (2, 9, 2, 3), "w1": (6, 11), "b1": (6,), "w2": (4, 6), "b2": (4,),
}  # fmt: skip
CALLS = {
    "delta_rule": lambda t: delta_rule(t["q"], t["k"], t["v"], t["beta"], -t["decay"].abs()),
    "decay_attention": lambda t: decay_attention(t["q"], t["k"], t["v"], -t["decay"].abs()),
    "fir": lambda t: torch.cat(fir(t["x"], [t["f3"], t["f5"]])),
    "gated_norm": lambda t: gated_norm(t["x"], t["gate"], t["weight"]),
    "branch_moments": lambda t: branch_moments([t["a"], t["b"]]),
    "branch_mix": lambda t: branch_mix([t["a"], t["b"]], t["mix"]),
}


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {name: (0.3 * torch.randn(shape, generator=generator)).requires_grad_() for name, shape in SHAPES.items()}


def outputs_and_gradients(call, given, within):
    with torch.autocast("cpu", torch.bfloat16, enabled=within):
        output = call(given)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(6))
    (output.float() * weights).sum().backward()
    return output.detach(), {name: each.grad for name, each in given.items() if each.grad is not None}


@pytest.mark.parametrize("name", CALLS)
def test_autocast_changes_neither_outputs_nor_gradients(name):
    plain, gradients = outputs_and_gradients(CALLS[name], tensors(), within=False)
    output, found = outputs_and_gradients(CALLS[name], tensors(), within=True)
    assert torch.equal(output, plain)
    assert found.keys() == gradients.keys()
    assert all(torch.equal(found[each], gradients[each]) for each in gradients)


def test_the_head_gate_computes_in_the_dtype_of_autocast_as_the_two_layers_would():
    def call(t):
        return head_gate(t["x"], t["s"], t["w1"], t["b1"], t["w2"], t["b2"])

    plain, gradients = outputs_and_gradients(call, tensors(), within=False)
    output, found = outputs_and_gradients(call, tensors(), within=True)
    assert output.dtype == torch.bfloat16
    assert found["w1"].dtype == torch.float32
    for each, exact in [(output.float(), plain), *((found[name], gradients[name]) for name in gradients)]:
        assert 0 < torch.linalg.vector_norm(each - exact) < 0.03 * torch.linalg.vector_norm(exact)


@pytest.mark.parametrize("backend", ["chunk", "triton"])
def test_the_gradients_of_the_head_gate_ignore_autocast_around_the_backward_pass(backend):
    if backend == "triton":
        pytest.importorskip("triton")
    found = []
    for within in (False, True):
        t = tensors()
        loss = head_gate(t["x"], t["s"], t["w1"], t["b1"], t["w2"], t["b2"], backend=backend).square().sum()
        with torch.autocast("cpu", torch.bfloat16, enabled=within):
            loss.backward()
        found.append([t[name].grad for name in ("x", "s", "w1", "b1", "w2", "b2")])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
