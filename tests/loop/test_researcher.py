"""The Researcher: what a parent is drawn from, what counts as the same program, what happens to a duplicate."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from loop.records import Reply, Request
from loop.researcher import Checker, Context, Known, NoveltySettings, PoolSettings, Researcher, pool, program
from replication.settings import InputError

SETTINGS = PoolSettings(size=5, parents=2, references=2, cold_start=4, update_every=3)
PROGRAM = '''
"""A mixer."""
import torch
from torch import nn
from torch.nn import functional as F


class Mixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.proj = nn.Linear(hidden_size, hidden_size)

    def forward(self, x):
        return F.silu(self.proj(x))
'''


def scored(experiment, losses):
    return [experiment(n, fitness={"strict": value} if value is not None else {}) for n, value in enumerate(losses)]


class Scripted:
    """A mind that proposes programs from a list and calls nothing a repetition."""

    def __init__(self, sources: list[str]) -> None:
        self.sources, self.requests = list(sources), []

    def ask(self, purpose: str, payload: dict) -> Reply:
        self.requests.append(Request(purpose=purpose, payload=payload))
        content = {"summary": "short"} if purpose == "summarise" else {"duplicate": False, "reason": ""}
        if purpose == "propose":
            content = {"name": "idea", "motivation": "keeps more", "code": self.sources.pop(0), "components": []}
        return Reply(
            content=content,
            error="",
            prompt="",
            text="",
            model="scripted",
            parameters={},
            prompt_tokens=0,
            completion_tokens=0,
            cost=0.0,
            seconds=0.0,
        )


class Passes:
    """A checker that lets everything pass; the certificate has tests of its own."""

    def check(self, worker, candidate):
        return "accepted", "", None


class Texts:
    def embed(self, texts):
        return np.eye(8)[[len(text) % 8 for text in texts]]


def researcher(check=True, returns=3):
    from loop.cognition import Neighbours

    return Researcher(
        pool=SETTINGS,
        novelty=NoveltySettings(check=check, nearest=5, returns=returns),
        kind="strict",
        cognition=None,
        analysis=True,
        known=Known(Neighbours(Texts())),
        checker=Passes(),
    )


def propose(sources, seen, **settings):
    mind = Scripted(sources)
    context = Context(parent=seen[0], references=(), entries=(), weakness="")
    attempts = researcher(**settings).propose(None, mind, seen, context, {}, np.random.default_rng(0))
    return attempts, mind


def test_the_pool_is_made_anew_only_at_its_updates(experiment):
    fitness = [0.1, 0.2, None, 0.4, 0.9, 0.8, 0.7, 1.0]
    seen = scored(experiment, fitness)
    assert [e.number for e in pool(seen[:3], "strict", SETTINGS)] == [1, 0]
    assert [e.number for e in pool(seen[:6], "strict", SETTINGS)] == [3, 1, 0]
    assert [e.number for e in pool(seen[:7], "strict", SETTINGS)] == [4, 5, 6, 3, 1]
    assert [e.number for e in pool(seen, "strict", SETTINGS)] == [4, 5, 6, 3, 1]


def test_parents_come_from_the_first_ranks_and_references_from_the_others(experiment):
    seen = scored(experiment, [0.1, 0.2, 0.3, 0.4, 0.9, 0.8, 0.7])
    asked = researcher()
    contexts = [asked.context(seen, np.random.default_rng(draw)) for draw in range(60)]
    assert {context.parent.number for context in contexts} == {4, 5}
    assert {other.number for context in contexts for other in context.references} == {6, 3, 2}
    assert all(len({other.number for other in context.references}) == 2 for context in contexts)


def test_before_the_cold_start_has_ended_everything_with_a_score_may_be_the_parent(experiment):
    seen = scored(experiment, [0.1, None, 0.3])
    contexts = [researcher().context(seen, np.random.default_rng(draw)) for draw in range(40)]
    assert {context.parent.number for context in contexts} == {0, 2}


def test_a_duplicate_goes_back_with_the_reason_and_is_recorded(experiment):
    seen = [experiment(0, source=PROGRAM), experiment(1)]
    renamed = PROGRAM.replace("proj", "projection")
    attempts, mind = propose([renamed, PROGRAM.replace("silu", "gelu")], seen)
    assert [version.verdict for version in attempts] == ["duplicate", "accepted"]
    assert attempts[0].reason == "the same program as experiment 0 but for names and layout"
    told = [request.payload["rejected"] for request in mind.requests if request.purpose == "propose"]
    assert told[0] == []
    assert told[1][0]["source"] == renamed
    assert told[1][0]["reason"] == attempts[0].reason


def test_the_same_idea_forever_ends_after_the_last_return(experiment):
    seen = [experiment(0, source=PROGRAM)]
    attempts, _ = propose([PROGRAM] * 9, seen, returns=3)
    assert [version.verdict for version in attempts] == ["duplicate"] * 4


def test_a_rejected_version_is_not_taken_when_it_comes_again(experiment):
    seen = [experiment(0, source=PROGRAM)]
    other = PROGRAM.replace("silu", "gelu")
    attempts, _ = propose([PROGRAM, PROGRAM, other], seen)
    assert [version.verdict for version in attempts] == ["duplicate", "duplicate", "accepted"]


def test_without_the_novelty_check_a_twin_is_let_through(experiment):
    attempts, mind = propose([PROGRAM], [experiment(0, source=PROGRAM)], check=False)
    assert [version.verdict for version in attempts] == ["accepted"]
    assert "novelty" not in [request.purpose for request in mind.requests]


def test_without_analysis_no_word_of_the_analyst_is_shown(experiment):
    seen = [experiment(0, source=PROGRAM), experiment(1)]
    for analysis in (True, False):
        asked, mind = researcher(), Scripted([PROGRAM.replace("silu", "gelu")])
        asked.analysis = analysis
        context = Context(parent=seen[0], references=(seen[1],), entries=(), weakness="")
        asked.propose(None, mind, seen, context, {}, np.random.default_rng(0))
        assert any("loss flattens early" in str(request.payload) for request in mind.requests) == analysis


def test_a_program_whose_examination_was_cut_short_is_not_examined_twice(monkeypatch):
    made = []

    def certified(worker, candidate, *_):
        made.append(candidate.id)
        future = SimpleNamespace(outcome="not_runnable", detail="no answer within 60 seconds")
        cost = SimpleNamespace(outcome="certified", detail="")
        checks = {"future": future, "batch": future, "cost": cost}
        return SimpleNamespace(checks=checks, leaks=(), complete=False)

    monkeypatch.setattr("loop.researcher.certified", certified)
    checker = Checker(settings=None, engine=None, store=None, leaks_pass=False)
    first, again = (checker.check(None, program("idea", PROGRAM)) for _ in range(2))
    assert first == again
    assert first[0] == "not_examined"
    assert len(made) == 1


def test_roots_that_all_fail_end_the_search_with_the_reason(experiment):
    failed = experiment(0, name="delta_net", status="too_slow", reason="text: it takes too long", fitness={})
    with pytest.raises(InputError, match=r"^roots: none of them has a score: delta_net: too_slow \(text: it takes too"):
        researcher().context([failed], np.random.default_rng(0))


def test_a_pool_with_more_parents_than_members_is_refused():
    with pytest.raises(InputError, match=r"pool\.parents"):
        PoolSettings(size=5, parents=6, references=2, cold_start=4, update_every=3)
