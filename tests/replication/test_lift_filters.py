"""Causal filters in a program's text become calls of kernels.fir, and what is not one stays as it is."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest
import torch

from replication.lift import filters
from replication.lift.adapters import filters as adapters
from replication.lift.rewriting import Unliftable, apply

IMPORTS = """
import torch
from torch import nn
from torch.nn import functional as F
from einops import rearrange
"""
FILTER = """
class Smoother(nn.Module):
    def __init__(self, heads, width, taps):
        super().__init__()
        self.taps = taps
        self.kernel = nn.Parameter(torch.randn(heads, width, taps))

    def forward(self, value):
        "Each channel with taps of its own."
        n, t, heads, width = value.shape
        rows = rearrange(value, "n t g w -> n (g w) t")
        kernel = rearrange(self.kernel, "g w k -> (g w) 1 k")
        rows = F.pad(rows, (self.taps - 1, 0))
        smooth = F.conv1d(rows, weight=kernel, groups=heads * width)
        return rearrange(smooth, "n (g w) t -> n t g w", g=heads)
"""
BANK = """
class Smoother(nn.Module):
    def __init__(self, heads, width, taps):
        super().__init__()
        self.sizes = (1, 2, taps)
        self.kernels = nn.ParameterList([torch.randn(heads * width, 1, k) for k in self.sizes])

    def forward(self, value):
        n, t, heads, width = value.shape
        rows = rearrange(value, "n t g w -> n (g w) t")
        smooth = []
        for size, kernel in zip(self.sizes, self.kernels):
            left = size - 1
            one = F.conv1d(F.pad(rows, (left, 0)), kernel, groups=heads * width)
            smooth.append(rearrange(one, "n (g w) t -> n t g w", g=heads))
        return torch.stack(smooth).tanh().sum(0)
"""
COMPREHENSION = """
class Smoother(nn.Module):
    def __init__(self, heads, width, taps):
        super().__init__()
        self.kernels = nn.ParameterList([torch.randn(heads * width, 1, k) for k in (3, taps)])

    def both(self, value):
        rows = rearrange(value, "n t g w -> n (g w) t")
        return [
            rearrange(
                F.conv1d(F.pad(rows, (w.shape[-1] - 1, 0)), weight=w, groups=rows.shape[1]),
                "n (g w) t -> n t g w",
                g=value.shape[2],
            )
            for w in self.kernels
        ]

    def forward(self, value):
        first, second = self.both(value)
        return first * second
"""
MODULES = """
class Smoother(nn.Module):
    def __init__(self, heads, width, taps):
        super().__init__()
        C = heads * width
        self.sizes = (2, taps)
        self.layers = nn.ModuleList([nn.Conv1d(C, C, kernel_size=k, groups=C, bias=BIAS) for k in self.sizes])

    def forward(self, value):
        n, t, heads, width = value.shape
        rows = rearrange(value, "n t g w -> n (g w) t")
        smooth = []
        for size, layer in zip(self.sizes, self.layers):
            smooth.append(layer(F.pad(rows, (size - 1, 0))))
        joined = torch.cat(smooth, dim=1)
        return rearrange(joined, "n (k g w) t -> n t g w k", g=heads, w=width).sin().sum(-1)
"""
TWO = (
    FILTER
    + """
class Mixer(nn.Module):
    def __init__(self, heads, width, taps):
        super().__init__()
        self.near = Smoother(heads, width, 3)
        self.far = Smoother(heads, width, taps)

    def forward(self, value):
        near = self.near(value)
        # a comment between the two
        far = self.far(value)
        return near.sigmoid() * far
"""
)


def lift(source):
    """The source rewritten, with the edits made."""
    return apply(source, filters.rewrite(ast.parse(source), source))


def build(source, name="Smoother", taps=5):
    """An instance of a class of the text, with the same parameters each time."""
    namespace = {"_lifted": adapters}
    exec(compile(source, "<program>", "exec"), namespace)
    torch.manual_seed(0)
    return namespace[name](2, 3, taps).double()


def results(module, x):
    """Output and all gradients of one call."""
    x = x.clone().requires_grad_()
    out = module(x)
    torch.manual_seed(2)
    out.backward(torch.randn(out.shape, dtype=out.dtype))  # randn_like would follow the strides of out
    return [out.detach(), x.grad, *(parameter.grad for parameter in module.parameters())]


def agree(source, name="Smoother", *, taps=5):
    """The lifted text gives what the source gives; returns the lifted text."""
    source = IMPORTS + dedent(source)
    lifted = lift(source)
    assert lifted != source
    for T in (3, 17):
        torch.manual_seed(1)
        x = torch.randn(2, T, 2, 3, dtype=torch.float64)
        before, after = results(build(source, name, taps), x), results(build(lifted, name, taps), x)
        for expected, found in zip(before, after, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    return lifted


@pytest.mark.parametrize("taps", [1, 2, 31], ids="{} taps".format)
def test_a_module_that_is_one_filter_computes_the_same(taps):
    lifted = agree(FILTER, taps=taps)
    assert "conv1d" not in lifted
    assert "F.pad" not in lifted
    assert "Each channel with taps of its own." in lifted


def test_the_order_of_statements_and_the_names_of_axes_do_not_matter():
    method = """
    def forward(self, a):
        taps = rearrange(self.kernel, "p q r -> (p q) 1 r")
        b, c, d, e = a.shape
        return rearrange(
            F.conv1d(F.pad(rearrange(a, 'i j p q->i ( p q ) j'), (self.taps - 1, 0)), taps, groups=d * e),
            "i (p q) j -> i j p q",
            p=d,
        )
"""
    agree(FILTER[: FILTER.index("    def forward")] + method)


@pytest.mark.parametrize("source", [BANK, COMPREHENSION], ids=["loop", "comprehension"])
def test_a_list_of_filters_is_one_call_with_a_bank(source, monkeypatch):
    lifted = agree(source)
    sizes = []
    fir = adapters.kernels.fir
    monkeypatch.setattr(adapters.kernels, "fir", lambda x, bank: sizes.append(len(bank)) or fir(x, bank))
    build(lifted)(torch.randn(1, 4, 2, 3, dtype=torch.float64))
    assert sizes == [3 if source is BANK else 2]


def test_modules_of_convolutions_keep_their_layout_for_what_follows():
    assert "channels_first=True" in agree(MODULES.replace("BIAS", "False"))


def test_modules_applied_to_one_input_in_a_row_share_one_call(monkeypatch):
    lifted = agree(TWO, "Mixer")
    sizes = []
    fir = adapters.kernels.fir
    monkeypatch.setattr(adapters.kernels, "fir", lambda x, bank: sizes.append(len(bank)) or fir(x, bank))
    build(lifted, "Mixer")(torch.randn(1, 4, 2, 3, dtype=torch.float64))
    assert sizes == [2]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("near = self.near(value)", "value = self.near(value)\n        near = value"),
        ("# a comment between the two", "value = value * 2"),
        ("far = self.far(value)", "far = self.far(near)"),
    ],
    ids=["first changes the input", "input changes between", "one after the other"],
)
def test_modules_with_inputs_of_their_own_stay_two_calls(old, new):
    assert agree(TWO.replace(old, new), "Mixer").count("causal_filters") == 1  # that of the class alone


def test_a_weight_may_be_normalised_and_cast_before_use():
    agree(
        FILTER.replace(
            'kernel = rearrange(self.kernel, "g w k -> (g w) 1 k")',
            'w = self.kernel.softmax(-1).to(value.dtype)\n        kernel = rearrange(w, "g w k -> (g w) 1 k")',
        )
        + TWO.removeprefix(FILTER),
        "Mixer",
    )


def test_a_program_without_convolutions_is_not_touched():
    assert filters.rewrite(ast.parse("class A:\n    pass\n"), "class A:\n    pass\n") == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(self.taps - 1, 0)", "(0, self.taps - 1)"),
        ("(self.taps - 1, 0)", "(self.taps - 1, 0), value=1.0"),
        ('"n t g w -> n (g w) t"', '"n t g w -> n (w g) t"'),
        ("groups=heads * width", "groups=heads * width, dilation=2"),
        ("groups=heads * width", "groups=heads * width, bias=self.bias"),
        ("rows = F.pad", "self.calls = 1\n        rows = F.pad"),
        ("rows = F.pad", "print(rows)\n        rows = F.pad"),
    ],
    ids=["right", "ones", "other order", "dilation", "bias", "side effect", "statement of another kind"],
)
def test_what_is_not_recognised_as_a_causal_filter_stays_with_a_reason(old, new):
    source = IMPORTS + FILTER
    assert old in source
    with pytest.raises(Unliftable, match="not recognised as a causal depthwise filter"):
        lift(source.replace(old, new))


def test_one_convolution_that_is_not_recognised_keeps_all_as_published():
    other = "\ndef smooth(x, w):\n    return F.conv1d(x, w, padding=1)\n"
    with pytest.raises(Unliftable, match="not recognised"):
        lift(IMPORTS + FILTER + other)


def test_an_unused_or_dilated_convolution_module_stays_with_a_reason():
    source = IMPORTS + "class Smoother(nn.Module):\n    def __init__(self):\n        self.layer = nn.Conv1d(4, 4, 3)\n"
    with pytest.raises(Unliftable, match="Conv1d"):
        lift(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FILTER.replace("(self.taps - 1, 0)", "(self.taps, 0)"), "5 taps is padded by 5"),
        (FILTER.replace("(self.taps - 1, 0)", "(self.taps - 2, 0)"), "5 taps is padded by 3"),
        (FILTER.replace("(g w) 1 k", "1 (g w) k"), "a filter for each of 6 channels"),
        (MODULES.replace("BIAS", "True"), "bias"),
        (MODULES.replace("bias=BIAS", "bias=False, dilation=2"), "dilation"),
        (MODULES.replace("nn.ModuleList([nn.Conv1d(", "nn.ModuleList([nn.Linear(t, t) or nn.Conv1d("), "Linear"),
    ],
    ids=["padded more", "padded less", "one output", "bias", "dilated", "another module"],
)
def test_a_filter_of_another_kind_is_an_error_when_it_runs(source, message):
    source = IMPORTS + source.replace("C = heads * width", "C = heads * width; t = taps")
    lifted = lift(source)
    with pytest.raises(ValueError, match=message):
        build(lifted)(torch.randn(1, 9, 2, 3, dtype=torch.float64))
