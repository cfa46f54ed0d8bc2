"""The share of a step that lifted parts have: what counts as such a part, and that all its time counts once."""

from __future__ import annotations

import ast
import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from replication import lift_time
from replication.lift_time import Clock, marked

# A function that solves by rows, two filters of a module of their own, and other work.
PROGRAM = '''
import torch
from torch import nn
from torch.nn import functional as F
from einops import rearrange

@torch.compile
def solve(q, k, v, beta, chunk_size: int = 32):
    """Row by row."""
    inverse = k @ k.mT
    for i in range(1, chunk_size):
        inverse[..., i, :i] += 1
    return inverse @ v, None

class Filter(nn.Module):
    def forward(self, value):
        n, t, g, w = value.shape
        rows = rearrange(value, "n t g w -> n (g w) t")
        rows = F.pad(rows, (self.taps - 1, 0))
        smooth = F.conv1d(rows, self.kernel, groups=g * w)
        return rearrange(smooth, "n (g w) t -> n t g w", g=g)

class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.short, self.gate = Filter(), nn.Linear(5, 1)
        self.long = Filter()

    def forward(self, x):
        other = x + 1
        wide = x.unsqueeze(2).expand(-1, -1, self.heads, -1)
        score = self.gate(torch.cat([wide, other], dim=-1))
        return score
'''


NOW = [0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(lift_time, "time", SimpleNamespace(perf_counter=lambda: NOW[0]))
    return Clock()


class Slow(torch.autograd.Function):
    """The identity, which takes 2 units of time forward and 3 backward."""

    @staticmethod
    def forward(_ctx: Any, x: Tensor) -> Tensor:
        NOW[0] += 2
        return x.clone()

    @staticmethod
    def backward(_ctx: Any, grad: Tensor) -> Tensor:
        NOW[0] += 3
        return grad


def slow(x: Tensor) -> Tensor:
    result: Tensor = Slow.apply(x)
    return result


def test_what_lifting_replaces_is_marked_and_nothing_else() -> None:
    lines = marked(PROGRAM, ["delta_rule", "filters", "head_gate"]).splitlines()
    text = "\n".join(line.strip() for line in lines)
    assert text.count("with _clock.block('delta_rule'):") == 1
    assert "def solve(q, k, v, beta, chunk_size: int=32):\nwith _clock.block('delta_rule'):\n'Row by row.'" in text
    assert "def forward(self, value):\nwith _clock.block('filters'):\nn, t, g, w = value.shape\n" in text
    assert "score = _clock.call('head_gate', lambda: self.gate(" in text
    assert "\nother = x + 1\n" in text
    assert text.count("_clock") == 3


def test_parts_that_are_not_asked_for_have_no_marks() -> None:
    assert "_clock" not in marked(PROGRAM, [])
    assert ast.dump(ast.parse(marked(PROGRAM, []))) == ast.dump(ast.parse(ast.unparse(ast.parse(PROGRAM))))


def test_a_part_has_the_time_of_its_forward_and_its_backward_pass_and_of_nothing_else(clock: Clock) -> None:
    x = torch.ones(3, requires_grad=True)
    before = slow(x * 2)
    with clock.block("filters"):
        y = slow(before).sin()
        with clock.block("filters"):  # within one of the same part
            y = slow(y)
    loss = slow(y).sum()
    assert clock.seconds("filters") == 4
    clock.follow(loss)
    loss.backward()
    assert clock.seconds("filters") == 10
    assert clock.seconds("delta_rule") == 0
    assert x.grad is not None


def test_a_value_of_a_marked_call_is_its_value_and_its_blocks_add_up(clock: Clock) -> None:
    x = torch.ones(3, requires_grad=True)
    assert clock.call("head_gate", lambda: 7) == 7
    with pytest.raises(ValueError, match="broken"), clock.block("head_gate"):
        raise ValueError("broken")
    for _ in range(2):
        x = clock.call("head_gate", functools.partial(slow, x))
    loss = x.sum()
    clock.follow(loss)
    loss.backward()
    assert len(clock.blocks) == 4
    assert clock.seconds("head_gate") == 10


def test_what_runs_when_a_function_is_made_is_not_marked() -> None:
    text = marked(PROGRAM.replace("@torch.compile", "@torch.compile()"), ["delta_rule"])
    solve = next(
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name == "solve"
    )
    assert [ast.unparse(each) for each in solve.decorator_list] == ["torch.compile()"]
    assert isinstance(solve.body[0], ast.With)
