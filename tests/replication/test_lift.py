"""What is lifted is proved: a wrong operator is caught, what fails stays as published, the process is left alone."""

from __future__ import annotations

import ast
import random
import re
import sys
import warnings
from collections.abc import Callable
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from replication import compat
from replication.initialise import seed_libraries
from replication.lift import PARTS, adapters, lift, rewritten
from replication.lift.proof import CASES
from replication.lift.rewriting import Edit, Unliftable, apply, span, with_import
from replication.program import names_bfloat16

RULE = '''
"""A mixer with a delta rule of its own."""
from __future__ import annotations
import torch
from torch import nn
import torch.nn.functional as F
from einops import rearrange

def unit_norm(x):
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)

@torch.compile
def by_chunks(q, k, v, beta, {further}*, chunk_size: int = 8):
    "Écrit par morceaux."
    tokens = q.shape[2]
    missing = -tokens % chunk_size
    q, k, v = (F.pad(each, (0, 0, 0, missing)) for each in (q, k, v))
    beta = F.pad(beta, (0, missing))
    q, k = unit_norm(q), unit_norm(k)
    size = chunk_size
    q, k, v, step = (each.unflatten(2, (-1, size)) for each in (q, k, v, beta[..., None]))
    lower = torch.ones(size, size, dtype=torch.bool).tril(-1)
    inverse = -((step * k) @ k.mT) * lower
    for i in range(1, size):
        inverse[..., i, :i] += (inverse[..., i, :, None].clone() * inverse[..., :, :i].clone()).sum(-2)
    inverse = (inverse + torch.eye(size).to(inverse)){rounding}
    new, old = inverse @ (step * v), inverse @ (step * k)
    state = q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1])
    outputs = []
    for n in range(q.shape[2]):
        change = new[:, :, n] - old[:, :, n] @ state
        outputs.append(q[:, :, n] @ state + (q[:, :, n] @ k[:, :, n].mT).tril() @ change)
        state = {decayed} + k[:, :, n].mT @ change
    return torch.cat(outputs, 2)[:, :, :tokens], state{detached}
'''
MIXER = """
class Mixer(nn.Module):
    def __init__(self, hidden_size, num_heads):
        super().__init__()
        self.heads = num_heads
        self.into = nn.Linear(hidden_size, 3 * hidden_size)
        self.step = nn.Linear(hidden_size, num_heads)
        self.fade = nn.Linear(hidden_size, num_heads)
        self.calls = 0

    def forward(self, x):
        q, k, v = rearrange(self.into(x), "b l (s h d) -> s b h l d", s=3, h=self.heads)
        beta = rearrange(self.step(x).sigmoid(), "b l h -> b h l")
        fade = rearrange(self.fade(x).sigmoid(), "b l h -> b h l")
        out, state = by_chunks(q, k, v, beta{given})
        self.calls += 1
        out = out * (1 + 0.1 * self.calls) * (1 + fade.mT[..., :1].mean())
        return rearrange(out, "b h l d -> b l (h d)"), state.square().mean()
"""
FILTER = """
class Slide(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.taps = nn.Parameter(torch.randn(width, 1, 4))

    def forward(self, x):
        columns = rearrange(x, "b l c -> b c l")
        slid = F.conv1d(F.pad(columns, (3, 0)), self.taps, groups=x.shape[-1])
        return rearrange(slid, "b c l -> b l c")

"""


def rule(
    further: str = "",
    given: str = "",
    decayed: str = "state",
    rounding: str = "",
    detached: str = "",
) -> str:
    function = RULE.format(further=further, decayed=decayed, rounding=rounding, detached=detached)
    return function.lstrip() + MIXER.format(given=given)


PLAIN = rule()
ROUNDED = rule(rounding=".to(torch.bfloat16)")
DETACHED = rule(detached=".detach()")
FADING = rule(
    "gamma, ", ", fade", "state * F.pad(gamma, (0, missing)).unflatten(2, (-1, size)).mean(3)[:, :, n, None, None]"
)
HEAD_WISE = rule("gamma=None, ", ", fade[..., 0]", "state * gamma[:, :, None, None]")
Wrong = Callable[..., tuple[Tensor, Tensor]]
right = adapters.delta_rule


def scaled(q: Tensor, *rest: Any, **how: Any) -> tuple[Tensor, Tensor]:
    return right(q * (1 + 1e-6), *rest, **how)


def normalised_again(q: Tensor, k: Tensor, *rest: Any, **how: Any) -> tuple[Tensor, Tensor]:
    return right(q, k * torch.rsqrt(k.square().sum(-1, keepdim=True) + 1e-6), *rest, **how)


def other_chunks(*given: Any, chunk_size: int, **how: Any) -> tuple[Tensor, Tensor]:
    return right(*given, chunk_size=chunk_size + 1, **how)


def unrounded(*given: Any, inverse_dtype: torch.dtype, **how: Any) -> tuple[Tensor, Tensor]:
    return right(*given, **how)


def attached(*given: Any, detach_state: bool, **how: Any) -> tuple[Tensor, Tensor]:
    return right(*given, **how)


def detached(*given: Any, **how: Any) -> tuple[Tensor, Tensor]:
    return right(*given, **how, detach_state=True)


def undecayed(*given: Any, decay: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    return right(*given, **how)


def late(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    """The last token is not written."""
    return right(q, k, v, torch.cat([beta[..., :-1], torch.zeros_like(beta[..., -1:])], -1), **how)


def without_gradient(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    return right(q, k, v, beta.detach(), **how)


@pytest.mark.parametrize("source", [PLAIN, ROUNDED, DETACHED, FADING, HEAD_WISE])
def test_a_delta_rule_is_lifted(source: str) -> None:
    found = lift(source, 32, 2)
    assert found.parts == dict.fromkeys(PARTS, "absent") | {"delta_rule": "lifted"}
    assert "range(1" not in found.source
    assert "@torch.compile" not in found.source
    assert rewritten(source, ["delta_rule"]) == found.source


@pytest.mark.parametrize(
    ("source", "wrong", "said"),
    [
        (PLAIN, scaled, r"output is off by 1.0e-06 of its size, more than 1.0e-09 \(float64, train, 70 tokens\)"),
        (PLAIN, normalised_again, "output is off by"),
        (PLAIN, late, "is off by"),
        (PLAIN, detached, "gradient of"),
        (PLAIN, without_gradient, "gradient of"),
        (DETACHED, attached, "gradient of"),
        (FADING, other_chunks, "output is off by"),
        (FADING, undecayed, "output is off by"),
        (HEAD_WISE, undecayed, "output is off by"),
        (ROUNDED, unrounded, r"more than 1.0e-05 \(float32, "),
        (ROUNDED, other_chunks, r"float32, "),
    ],
)
def test_a_wrong_operator_is_caught(source: str, wrong: Wrong, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "delta_rule", wrong)
    found = lift(source, 32, 2)
    assert found.source == source
    assert re.search(said, found.parts["delta_rule"])


SQUARED = "state * (1 if gamma is None else gamma.square()[:, :, None, None])"
LAYER = ("hidden_size, num_heads):", "hidden_size, num_heads, layer_idx):\n        self.layer = layer_idx")
UNLUCKY = {
    "clips what is large": (rule(decayed="state.clamp(-20, 20)"), "output is off by .* 1030 loud tokens"),
    "forgets after many chunks": (rule(decayed="state * float(n != 100)"), "output is off by .* 1030 loud tokens"),
    "scales wide heads alone": (
        PLAIN.replace("size = chunk_size", "size = chunk_size\n    q = q * (0.5 if q.shape[-1] > 40 else 1.0)"),
        r"output is off by .* \(float64, train, 70 tokens\)",
    ),
    "decays otherwise in later layers": (
        rule("gamma=None, ", ", fade[..., 0] if self.layer else None", SQUARED).replace(*LAYER),
        "is off by .* 70 nearly equal tokens",
    ),
    "decays otherwise after a thousand calls": (
        rule("gamma=None, ", ", fade[..., 0] if self.calls > 1000 else None", SQUARED),
        "is off by .* 70 nearly equal tokens",
    ),
}


@pytest.mark.parametrize("name", UNLUCKY)
def test_what_differs_only_where_few_look_is_not_lifted(name: str) -> None:
    source, said = UNLUCKY[name]
    found = lift(source, 128, 2)
    assert re.search(said, found.parts["delta_rule"])
    assert found.source == source


@pytest.mark.parametrize(
    ("changed", "to", "more"),
    [
        ("tokens = q.shape[2]", "tokens = q.shape[2]\n    SEEN.append(tokens)", "SEEN"),
        ("tokens = q.shape[2]", "tokens = q.shape[2]\n    unit_norm.calls = tokens", "unit_norm.calls"),
        ("tokens = q.shape[2]", "global TURN\n    TURN = tokens = q.shape[2]\n    q = TURN / tokens * q", "TURN"),
    ],
)
def test_a_function_that_depends_on_more_than_its_arguments_is_not_replaced(changed: str, to: str, more: str) -> None:
    source = PLAIN.replace("def unit_norm", "EPS = 1e-6\nSEEN, TURN = [], 0\n\ndef unit_norm")
    source = source.replace("size = chunk_size\n", "size = chunk_size + int(EPS)\n")
    assert lift(source, 32, 2).parts["delta_rule"] == "lifted"
    assert lift(source.replace(changed, to), 32, 2).parts["delta_rule"] == f"it depends on or changes {more}"


def test_a_program_with_exceptions_of_its_own_at_small_sizes_is_proved_at_those_of_the_run() -> None:
    refusal = "self.calls = 0\n        if hidden_size < 64: raise TooSmall()"
    source = PLAIN.replace("self.calls = 0", refusal) + "\nclass TooSmall(Exception): pass\n"
    assert lift(source, 64, 4).parts["delta_rule"] == "lifted"
    assert lift(source, 48, 4).parts["delta_rule"] == "the program as published fails: TooSmall: "


def test_deep_expressions_and_sums_that_double_cost_no_more_than_their_part() -> None:
    doubling = "\n".join("        x = x + x" for _ in range(60))
    large = f"\nclass Large(nn.Module):\n    def forward(self, x):\n{doubling}\n        return F.conv1d(x, x)\n"
    assert lift(PLAIN + large, 32, 2).parts == {
        "delta_rule": "lifted",
        "filters": "a convolution is not recognised as a causal depthwise filter",
        "moving_average": "absent",
        "head_gate": "absent",
    }
    deep = "def steep(q):\n    for i in range(" + "+".join(["1"] * 900) + ", 2):\n        q[i] = 1\n"
    found = lift(deep, 32, 2)
    assert found.source == deep
    assert found.parts["delta_rule"] == "its expressions are nested too deeply"


def test_a_lifted_program_mixes_no_types_where_only_its_inverse_was_rounded() -> None:
    assert names_bfloat16(ast.parse(ROUNDED))
    assert not names_bfloat16(ast.parse(lift(ROUNDED, 32, 2).source))
    elsewhere = ROUNDED.replace("out = out * (1", "out = out.bfloat16() * (1")
    assert names_bfloat16(ast.parse(rewritten(elsewhere, ["delta_rule"])))


def test_a_part_that_fails_stays_as_published_and_the_others_are_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    source = PLAIN.replace("class Mixer", FILTER + "class Mixer").replace(
        "return rearrange(out", "return slide(x) + rearrange(out"
    )
    source = source.replace("self.calls = 0", "self.calls, self.slide = 0, Slide(hidden_size)").replace(
        "slide(x)", "self.slide(x)"
    )
    assert lift(source, 32, 2).parts == dict.fromkeys(PARTS, "absent") | {"delta_rule": "lifted", "filters": "lifted"}
    monkeypatch.setattr(adapters, "delta_rule", scaled)
    found = lift(source, 32, 2)
    assert found.parts["filters"] == "lifted"
    assert found.parts["delta_rule"].startswith("output is off by")
    assert found.source == rewritten(source, ["filters"])
    assert "range(1" in found.source


def test_an_operator_that_raises_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*given: Any, **how: Any) -> tuple[Tensor, Tensor]:
        raise ValueError("no such shape\nat all")

    monkeypatch.setattr(adapters, "delta_rule", refuses)
    assert lift(PLAIN, 32, 2).parts["delta_rule"] == "the program lifted fails: ValueError: no such shape"


def test_a_program_that_fails_itself_stays_as_published() -> None:
    source = PLAIN.replace("self.calls += 1", "raise RuntimeError('never')")
    found = lift(source, 32, 2)
    assert found.source == source
    assert found.parts["delta_rule"] == "the program as published fails: RuntimeError: never"


def test_a_program_with_nothing_to_lift_is_not_run() -> None:
    source = "class Mixer:\n    pass\nraise SystemExit\n"
    assert lift(source, 32, 2) == lift("not Python", 32, 2).__class__(source, dict.fromkeys(PARTS, "absent"))
    assert lift("not Python", 32, 2).source == "not Python"


def test_a_program_that_the_small_sizes_do_not_suit_is_proved_at_those_of_the_run() -> None:
    source = PLAIN.replace("self.calls = 0", "self.calls = 0\n        assert hidden_size % 48 == 0, 'multiples of 48'")
    assert lift(source, 96, 4).parts["delta_rule"] == "lifted"
    assert lift(source, 64, 4).parts["delta_rule"].endswith("AssertionError: multiples of 48")


def test_a_program_that_gives_something_else_each_time_is_not_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "calls", 0, raising=False)
    source = PLAIN.replace(
        "out = out * (1", "import warnings; warnings.calls += 1\n        out = out * (warnings.calls"
    )
    assert "is off by" in lift(source, 32, 2).parts["delta_rule"]


def test_dropout_and_counters_of_calls_do_not_hinder_the_proof() -> None:
    source = PLAIN.replace("self.step(x)", "self.step(F.dropout(x, 0.3, self.training))")
    assert lift(source, 32, 2).parts["delta_rule"] == "lifted"


def test_the_process_is_left_as_it_was() -> None:
    compat.install("cpu")
    modules = {name: module for name, module in sys.modules.items() if name.startswith("fla")}
    compiler, dtype = torch.compile, torch.get_default_dtype()

    def draws() -> tuple[float, float, float]:
        return float(torch.rand(())), float(np.random.rand()), random.random()  # noqa: NPY002 - programs use it

    seed_libraries(3, "lift")
    expected = draws()
    seed_libraries(3, "lift")
    first = lift(ROUNDED, 32, 2)
    assert draws() == expected
    assert torch.compile is compiler
    assert torch.get_default_dtype() == dtype
    assert {name: module for name, module in sys.modules.items() if name.startswith("fla")} == modules
    assert lift(ROUNDED, 32, 2) == first


def test_stand_ins_serve_where_another_fla_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    other = type(sys)("fla")
    for name in [name for name in sys.modules if name.partition(".")[0] == "fla"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fla", other)
    compiler = object()
    monkeypatch.setattr(torch, "compile", compiler)
    with compat.stand_ins():
        assert sys.modules["fla"] is not other
        assert sys.modules["fla.modules"].RMSNorm is compat.SUPPLIED["fla.modules"]["RMSNorm"]
        assert compat.torch_compile_is_off()
    assert sys.modules["fla"] is other
    assert "fla.modules" not in sys.modules
    assert torch.compile is compiler


def test_the_proof_looks_in_both_modes_and_both_types_and_at_ragged_lengths() -> None:
    calls = [(case.dtype, call.mode, call.length) for case in CASES for call in case.calls]
    assert {dtype for dtype, _, _ in calls} == {torch.float64, torch.float32}
    assert {mode for _, mode, _ in calls} == {"train", "eval"}
    assert min(length for _, _, length in calls) < 32 < 33 in [length for _, _, length in calls]
    assert all(length % 32 for _, _, length in calls)


def test_a_part_that_is_not_there_cannot_be_rewritten() -> None:
    with pytest.raises(Unliftable, match="filters: absent"):
        rewritten(PLAIN, ["delta_rule", "filters"])
    assert rewritten(PLAIN, []) == PLAIN


def test_positions_count_characters_after_letters_of_several_bytes() -> None:
    source = dedent("""
        x = "é→𝄞"; y = f("ü", [1,
            2])
        @first
        @second(1)
        def g(): return "ß"
    """)
    tree = ast.parse(source)
    call = next(node for node in ast.walk(tree) if isinstance(node, ast.Call))
    start, end = span(source, call)
    assert source[start:end] == 'f("ü", [1,\n    2])'
    function = tree.body[-1]
    assert isinstance(function, ast.FunctionDef)
    start, end = span(source, function)
    assert source[start:end] == '@first\n@second(1)\ndef g(): return "ß"'
    start, end = span(source, function, decorators=False)
    assert source[start:end] == 'def g(): return "ß"'


def test_a_form_feed_and_other_line_endings_do_not_shift_positions() -> None:
    source = "x = 1\r\n\x0cy = 2\n# \x85\u2028\nz = 3\n"
    for statement in ast.parse(source).body:
        start, end = span(source, statement)
        assert source[start:end] == ast.unparse(statement)


def test_edits_are_made_at_once_and_may_not_share_characters() -> None:
    assert apply("abcdef", [Edit(4, 6, "X"), Edit(0, 1, "YY"), Edit(2, 2, "-")]) == "YYb-cdX"
    with pytest.raises(Unliftable, match="share"):
        apply("abcdef", [Edit(0, 3, "X"), Edit(2, 4, "Y")])


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\n", "import a\nx = 1\n"),
        ('"""Text."""\nx = 1\n', '"""Text."""\nimport a\nx = 1\n'),
        ("from __future__ import annotations; x = 1\n", "from __future__ import annotations\nimport a; x = 1\n"),
    ],
)
def test_the_import_follows_what_has_to_come_first(source: str, expected: str) -> None:
    assert with_import(source, "import a") == expected
    compile(with_import(source, "import a"), "text", "exec")
