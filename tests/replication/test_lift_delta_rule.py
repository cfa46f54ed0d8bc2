"""A program's own delta rule and moving averages are found in its text, and the adapters compute what they did."""

from __future__ import annotations

import ast
from textwrap import dedent

import pytest
import torch
from torch import Tensor

from replication.lift import adapters, delta_rule, lift, moving_average
from replication.lift.rewriting import Unliftable, apply

LOOP = """
    solved = -(k @ k.mT) * beta
    for row in range(1, chunk_size):
        solved[..., row, :row] = solved[..., row, :row] + solved[..., row, :] @ solved[..., :row]
"""


def rewritten(source: str) -> str:
    return apply(source, delta_rule.rewrite(ast.parse(source), source))


def function(head: str, before: str = "", after: str = "    return q, k\n") -> str:
    return f"def rule({head}):\n{before}{LOOP}{after}"


def test_a_function_with_a_row_loop_becomes_one_call() -> None:
    source = "x = 1\n\n@torch.compile  # fast\n" + function("q, k, v, beta, *, chunk_size: int = 32") + "\ny = 2\n"
    assert rewritten(source) == (
        "x = 1\n\ndef rule(q, k, v, beta, *, chunk_size: int=32):\n"
        "    return _lifted.delta_rule(q, k, v, beta, chunk_size=chunk_size)\n\ny = 2\n"
    )


def test_norms_rounding_decay_and_detached_state_are_read_off_the_text() -> None:
    before = "    q = norm(q, eps=1e-3)\n    k, w = l2norm(k), v\n    v = v * 2\n"
    after = "    solved = solved.to(torch.bfloat16)\n    return q, k.detach()\n"
    source = function("q, k, v, beta, gamma=None, chunk_size=16", before, after)
    assert rewritten(source).splitlines()[1] == (
        "    return _lifted.delta_rule(norm(q, eps=1e-3), l2norm(k), v, beta, chunk_size=chunk_size, decay=gamma, "
        "inverse_dtype=torch.bfloat16, detach_state=True)"
    )


def test_a_method_keeps_its_indentation() -> None:
    source = "class A:\n    @staticmethod\n    " + function("q, k, v, beta, chunk_size").replace("\n", "\n    ")
    assert "    def rule(q, k, v, beta, chunk_size):\n        return _lifted" in rewritten(source)
    compile(rewritten(source), "text", "exec")


@pytest.mark.parametrize("source", ["", "for i in range(1, 9):\n    x[i] = 1\n", "def f(x):\n    return x\n"])
def test_a_program_without_such_a_function_has_no_delta_rule(source: str) -> None:
    assert delta_rule.rewrite(ast.parse(source), source) == []


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (function("q, k, v, step, chunk_size"), "its arguments are q, k, v, step, chunk_size"),
        (function("q, k, v, beta"), "its arguments are q, k, v, beta, not"),
        (function("q, k, v, beta, a, b, chunk_size"), "at most a decay"),
        (function("q, k, v, beta, chunk_size") * 2, "2 functions solve"),
        (function("q, k, v, beta, chunk_size", after="    return q.half, k\n"), "rounds by q.half"),
    ],
)
def test_another_function_with_a_row_loop_stays_and_says_why(source: str, why: str) -> None:
    with pytest.raises(Unliftable, match=why):
        delta_rule.rewrite(ast.parse(source), source)


def tensors(T: int) -> tuple[Tensor, ...]:
    torch.manual_seed(T)
    q, k, v = (torch.randn(2, 3, T, 4, dtype=torch.float64) for _ in range(3))
    return q, k / k.norm(dim=-1, keepdim=True), v, torch.rand(2, 3, T, dtype=torch.float64)


@pytest.mark.parametrize("T", [3, 8, 13, 24])
@pytest.mark.parametrize("kind", ["none", "head", "token"])
def test_the_adapter_is_the_recurrence_with_a_decay_at_the_end_of_each_chunk(T: int, kind: str) -> None:
    q, k, v, beta = tensors(T)
    decay = {"none": None, "head": torch.rand(2, 3), "token": torch.rand(2, 3, T)}[kind]
    decay = None if decay is None else decay.double()
    out, state = adapters.delta_rule(q, k, v, beta, chunk_size=8, decay=decay)
    S, before = torch.zeros(2, 3, 4, 4, dtype=torch.float64), torch.zeros(2, 3, 4, 4, dtype=torch.float64)
    for t in range(T):
        if t % 8 == 0:
            before = S
        error = v[:, :, t] - (S.mT @ k[:, :, t, :, None])[..., 0]
        S = S + beta[:, :, t, None, None] * k[:, :, t, :, None] * error[..., None, :]
        torch.testing.assert_close(out[:, :, t], (S.mT @ q[:, :, t, :, None])[..., 0])
        if (t % 8 == 7 or t == T - 1) and decay is not None:
            kept = decay if kind == "head" else decay[:, :, t - t % 8 : t + 1].sum(-1) / 8  # zeros for missing tokens
            S = S + (kept[..., None, None] - 1) * before
    torch.testing.assert_close(state, S)


def test_the_adapter_refuses_a_decay_of_another_shape() -> None:
    with pytest.raises(ValueError, match="decay must be"):
        adapters.delta_rule(*tensors(9), chunk_size=8, decay=torch.rand(2, 3, 8))


def test_the_returned_state_carries_gradients_unless_it_is_detached() -> None:
    q, k, v, beta = tensors(9)
    v.requires_grad_()
    assert adapters.delta_rule(q, k, v, beta, chunk_size=8)[1].requires_grad
    assert not adapters.delta_rule(q, k, v, beta, chunk_size=8, detach_state=True)[1].requires_grad


AVERAGE = """
@torch.compile
def smooth(v, gamma, start=None):
    out = torch.empty_like(v)
    kept = torch.zeros_like(v[:, :, 0]) if start is None else start
    for t in range({tokens}):
        g = gamma[:, :, t].unsqueeze(-1)
        kept = {update}
        out[:, :, t] = kept
    return out, kept
"""
MIXER = """
import torch
from torch import nn
from einops import rearrange
{average}
class Mixer(nn.Module):
    def __init__(self, hidden_size, num_heads):
        super().__init__()
        self.heads, self.fade = num_heads, nn.Linear(hidden_size, num_heads)

    def forward(self, x):
        v = rearrange(x, "b l (h d) -> b h l d", h=self.heads)
        out, last = smooth(v, self.fade(x).sigmoid().mT)
        return rearrange(out, "b h l d -> b l (h d)"), last.square().mean()
"""
RIGHT = AVERAGE.format(tokens="v.shape[2]", update="g * kept + (1.0 - g) * v[:, :, t]")


def test_a_moving_average_becomes_one_call_and_is_proved() -> None:
    found = lift(MIXER.format(average=RIGHT), 32, 2)
    assert found.parts["moving_average"] == "lifted"
    assert "def smooth(v, gamma, start=None):\n    return _lifted.moving_average(v, gamma, start)\n" in found.source


def test_another_average_is_not_taken_for_it() -> None:
    source = MIXER.format(average=AVERAGE.format(tokens="v.shape[2]", update="g * kept + (0.9 - g) * v[:, :, t]"))
    found = lift(source, 32, 2)
    assert found.source == source
    assert found.parts["moving_average"].startswith("output is off by")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (RIGHT.replace("start=None", "start=None, other=None"), "its further arguments are start, other"),
        (RIGHT.replace(".unsqueeze(-1)", "[..., None]"), "does not show which argument is the decay"),
        (RIGHT.replace("v[:, :, t]\n", "w[:, :, t]\n"), "reads gamma, w"),
    ],
)
def test_a_loop_over_tokens_of_another_form_stays_and_says_why(source: str, why: str) -> None:
    with pytest.raises(Unliftable, match=why):
        moving_average.rewrite(ast.parse(source), source)


def test_a_loop_that_keeps_no_state_is_no_moving_average() -> None:
    source = dedent("""
        def each(v, gamma):
            for t in range(9):
                now = gamma[:, :, t].unsqueeze(-1) * v[:, :, t]
                out[:, :, t] = now
            return out
    """)
    assert moving_average.rewrite(ast.parse(source), source) == []


@pytest.mark.parametrize("start", [False, True])
def test_the_moving_average_is_the_loop_also_where_nothing_is_kept(start: bool) -> None:
    torch.manual_seed(0)
    v, gamma = torch.randn(2, 3, 70, 4, dtype=torch.float64), torch.rand(2, 3, 70, dtype=torch.float64)
    gamma[:, :, 5], gamma[:, :, 9], gamma[:, 1] = 0, 1, 1e-6
    first = torch.randn(2, 3, 4, dtype=torch.float64) if start else torch.zeros(2, 3, 4, dtype=torch.float64)
    out, last = adapters.moving_average(v, gamma, first if start else None)
    kept = first
    for t in range(70):
        kept = gamma[:, :, t, None] * kept + (1 - gamma[:, :, t, None]) * v[:, :, t]
        torch.testing.assert_close(out[:, :, t], kept)
    torch.testing.assert_close(last, kept)
