"""Per-head gate networks in a program's text become calls of kernels.head_gate, and other things stay as they are."""

from __future__ import annotations

import ast
import importlib

import pytest
import torch
from torch import nn

from replication.lift import head_gate
from replication.lift.rewriting import Unliftable, apply

adapters = importlib.import_module("replication.lift.adapters.head_gate")  # the package has a function of this name

IMPORTS = """
import torch
from torch import nn
from torch.nn import functional as F
from einops import rearrange
"""
GATE = """
class Gate(nn.Module):
    def __init__(self, size, heads, features):
        super().__init__()
        self.heads = heads
        self.net = nn.Sequential(nn.Linear(size + features, 7), nn.GELU(), nn.Linear(7, 3))
        self.first, self.second = nn.Linear(size + features, 7, bias=False), nn.Linear(7, 2)

    def forward(self, x, s):
        wide = x.unsqueeze(-2).expand(-1, -1, self.heads, -1)
        BODY
"""
FLAT = """joined = torch.cat([wide, s], dim=-1)
        rows = rearrange(joined, "n t g f -> (n t g) f")
        z = self.net(rows)
        return rearrange(z, "(n t g) k -> n t g k", n=joined.shape[0], t=joined.shape[1], g=self.heads)"""
DIRECT = """return self.net(torch.cat((wide, s[..., :2], s[..., 2:]), dim=-1))"""
INLINE = """N, T, H, width = torch.cat([wide, s], dim=-1).shape
        z = self.net(rearrange(torch.cat([wide, s], dim=-1), "n t g f -> (n t g) f"))
        return z.view(N, T, H, 3) * width"""
SPELLED_OUT = """rows = torch.cat([x.unsqueeze(2).expand(-1, -1, self.heads, -1), s], dim=-1)
        y = F.silu(self.first(rows))
        return self.second(y)"""
NESTED = """return self.second(torch.tanh(self.first(torch.cat([wide, s], dim=-1))))"""
TWICE = """rows = torch.cat([wide, s], dim=-1)
        return self.net(rows).sum(-1) + F.relu(self.first(rows)).sum(-1) + self.first(rows).sum(-1)"""
REBOUND = """joined = torch.cat([wide, s], dim=-1)
        x = x * 2
        joined = rearrange(joined, "n t g f -> (n t g) f")
        return self.net(joined) + x.sum()"""
HIDDEN_REBOUND = """x = x.sin()
        return self.net(torch.cat([wide, s], dim=-1)) + x.sum()"""
WIDE_REBOUND = """x = x.sin()
        x = x.unsqueeze(2).expand(-1, -1, self.heads, -1)
        return self.net(torch.cat([x, s], dim=-1))"""
UNUSED_ACTIVATION = """y = F.gelu(self.first(torch.cat([wide, s], dim=-1)))
        return self.second(y) + y.sum()"""
PASSED_ON = """return self.inner(wide, s)

    def inner(self, wide, s):
        return self.net(torch.cat([wide, s], dim=-1))"""
BRANCHES = """if self.training:
            rows = torch.cat([wide, s], dim=-1)
        else:
            rows = torch.cat([wide, 2 * s], dim=-1)
        return self.net(rows)"""
SERVED = {
    "flattened": FLAT,
    "direct": DIRECT,
    "inline": INLINE,
    "spelled out": SPELLED_OUT,
    "nested": NESTED,
    "used twice": TWICE,
    "name used again": REBOUND,
    "hidden states changed": HIDDEN_REBOUND,
    "widened under one name": WIDE_REBOUND,
    "activation used elsewhere": UNUSED_ACTIVATION,
    "passed on": PASSED_ON,
}
SIZE, HEADS, FEATURES = 5, 3, 4


def program(body, network="nn.Sequential(nn.Linear(size + features, 7), nn.GELU(), nn.Linear(7, 3))"):
    source = IMPORTS + GATE.replace("BODY", body)
    return source.replace("nn.Sequential(nn.Linear(size + features, 7), nn.GELU(), nn.Linear(7, 3))", network)


def lift(source):
    """The source rewritten, with the edits made."""
    return apply(source, head_gate.rewrite(ast.parse(source), source))


def build(source):
    """The gate of a text, with the same parameters each time."""
    namespace = {"_lifted": adapters}
    exec(compile(source, "<program>", "exec"), namespace)
    torch.manual_seed(0)
    return namespace["Gate"](SIZE, HEADS, FEATURES).double()


def inputs():
    torch.manual_seed(1)
    shapes = (2, 6, SIZE), (2, 6, HEADS, FEATURES)
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def results(module):
    """Output and all gradients of one call."""
    x, s = inputs()
    torch.manual_seed(2)
    out = module(x, s)
    out.backward(torch.randn(out.shape, dtype=out.dtype))
    return [out.detach(), x.grad, s.grad, *(parameter.grad for parameter in module.parameters())]


def agree(source):
    """The lifted text gives what the source gives, for the same parameters; returns the lifted text."""
    lifted = lift(source)
    before, after = build(source), build(lifted)
    assert [name for name, _ in before.named_parameters()] == [name for name, _ in after.named_parameters()]
    for expected, found in zip(results(before), results(after), strict=True):
        if expected is None:
            assert found is None
        else:
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    return lifted


@pytest.mark.parametrize("body", SERVED.values(), ids=SERVED.keys())
def test_a_gate_of_widened_hidden_states_computes_the_same(body):
    lifted = agree(program(body))
    assert "_lifted.head_gate" in lifted
    assert "torch.cat" not in lifted


@pytest.mark.parametrize(
    "network",
    [
        "nn.Linear(size + features, 3)",
        "nn.Sequential(nn.Linear(size + features, 3))",
        "nn.Sequential(nn.Linear(size + features, 6, bias=False), nn.SiLU(), nn.Linear(6, 3, bias=False))",
        "nn.Sequential(nn.Linear(size + features, 6), nn.GELU(approximate='tanh'), nn.Linear(6, 3))",
        "nn.Sequential(nn.Linear(size + features, 6), nn.ELU(), nn.Linear(6, 3))",
        "nn.Sequential(nn.Linear(size + features, 6), nn.GELU(), nn.Dropout(0.5), nn.Linear(6, 3))",
        "nn.Sequential(nn.Linear(size + features, 6), nn.Tanh(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))",
    ],
    ids=["linear", "one layer", "no biases", "other GELU", "other activation", "dropout", "three layers"],
)
def test_networks_that_start_with_a_linear_layer_are_served(network):
    agree(program(FLAT, network))


@pytest.mark.parametrize("body", [FLAT, NESTED], ids=["network", "nested"])
def test_two_layers_and_an_activation_are_one_call_of_the_kernel(body, monkeypatch):
    calls = []
    kernel = adapters.factorised_gate
    monkeypatch.setattr(adapters, "factorised_gate", lambda *a, **k: calls.append(k) or kernel(*a, **k))
    build(lift(program(body)))(*inputs())
    assert calls == [{"activation": "gelu" if body is FLAT else "tanh"}]


@pytest.mark.parametrize("network", ["nn.Linear(size + features, 1)", None], ids=["linear", "two layers"])
def test_nothing_as_large_as_the_joined_tensor_is_kept_for_the_backward_pass(network):
    source = program(DIRECT, network) if network else program(DIRECT).replace("7)", "2)").replace("(7", "(2")
    x, s = torch.randn(2, 6, 40, requires_grad=True), torch.randn(2, 6, HEADS, FEATURES, requires_grad=True)

    def largest(text):
        namespace = {"_lifted": adapters}
        exec(compile(text, "<program>", "exec"), namespace)
        module = namespace["Gate"](40, HEADS, FEATURES)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
            module(x, s)
        return max(kept)

    assert largest(source) >= 2 * 6 * HEADS * 40
    assert largest(lift(source)) <= 2 * 6 * 40


def test_features_may_be_narrower_than_the_hidden_states():
    joined = adapters.head_features(torch.randn(1, 2, 5), 3, [torch.randn(1, 2, 3, 4, dtype=torch.float64)])
    assert joined.hidden.dtype == joined.features.dtype == torch.float64
    assert joined.shape == (1, 2, 3, 9)
    assert joined.flattened().shape == (6, 9)


def test_a_program_without_widened_hidden_states_is_not_touched():
    source = IMPORTS + GATE.replace("BODY", "return self.net(torch.cat([x, s.flatten(2)], dim=-1))")
    source = source.replace("wide = x.unsqueeze(-2).expand(-1, -1, self.heads, -1)", "")
    assert head_gate.rewrite(ast.parse(source), source) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('return torch.einsum("ntgf,gfk->ntgk", torch.cat([wide, s], dim=-1), self.weight)', "torch.einsum uses"),
        (FLAT.replace("self.net(rows)", "self.net(rows) + rows.sum()"), "rows.sum uses"),
        (FLAT.replace("(n t g) f", "(n g t) f", 1), "rearrange uses"),
        ("rows = torch.cat([wide, s], dim=-1)\n        return wide", "rows, hidden states joined"),
        (FLAT.replace("z = ", "rows += 1\n        z = "), "rows, hidden states joined"),
        ("return self.net(torch.cat([2 * s, wide], dim=-1))", "not joined with features"),
        ("return self.net(torch.cat([wide, s], dim=2))", "not joined with features"),
        ("return wide * 2", "not joined with features"),
        (
            BRANCHES,
            "rows, hidden states joined",
        ),
    ],
    ids=[
        "einsum",
        "used elsewhere",
        "other order",
        "served",
        "unused",
        "last",
        "other axis",
        "only widened",
        "branches",
    ],
)
def test_what_needs_the_joined_tensor_stays_with_a_reason(body, message):
    with pytest.raises(Unliftable, match=message):
        lift(program(body))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (program(DIRECT, "nn.Sequential(nn.LayerNorm(size + features), nn.Linear(size + features, 3))"), "LayerNorm"),
        (program(PASSED_ON).replace("inner(wide, s)\n\n", "inner(wide.cumsum(2), s)\n\n"), "not one hidden state"),
        (program("s = s[:, :1]\n        " + DIRECT), "features must be"),
    ],
    ids=["norm first", "differs by head", "broadcast"],
)
def test_a_gate_of_another_kind_is_an_error_when_it_runs(source, message):
    module = build(lift(source))
    with pytest.raises(ValueError, match=message):
        module(*inputs())


def test_a_wrong_share_of_the_hidden_states_would_be_seen(monkeypatch):
    monkeypatch.setattr(adapters, "factorised_gate", lambda h, *a, **k: h.mean() + a[0][..., :3])
    with pytest.raises(AssertionError, match="close"):
        agree(program(FLAT))


def test_layers_are_used_as_they_are():
    module = build(lift(program(FLAT)))
    assert isinstance(module.net[0], nn.Linear)
    assert module.net[0].weight.shape == (7, SIZE + FEATURES)
