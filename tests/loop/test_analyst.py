"""The Analyst: relatives of an experiment, origins of its components, and what components have brought."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from loop.analyst import analyse, component_statistics
from loop.records import Component

WORDS = {"worked": "the gate", "failed": "", "weakness": "forgets associations made far back"}
LABELS = [{"component": "gate", "origin": "cognition"}, {"component": "norm", "origin": "a dream"}]


class Recording:
    """A mind that answers one thing and remembers what it was asked."""

    def __init__(self, content):
        self.content, self.payloads = content, []

    def ask(self, purpose, payload):
        self.payloads.append(payload)
        return SimpleNamespace(content=self.content)


def gate(origin="original"):
    return Component(component="gate", origin=origin, labelled_by="truth")


def test_an_experiment_is_read_beside_parent_grandparent_and_siblings(experiment):
    seen = [experiment(0), *(experiment(n, parent=max(0, n - 1)) for n in (1, 2)), experiment(3, parent=1)]
    mind = Recording({**WORDS, "components": []})
    analyse(mind, experiment(4, parent=1), seen, [], [])
    (payload,) = mind.payloads
    assert payload["parent"]["number"] == 1
    assert payload["grandparent"]["number"] == 0
    assert [sibling["number"] for sibling in payload["siblings"]] == [2, 3]


def test_origins_are_the_proposers_where_it_knows_them_else_the_models(experiment):
    mind = Recording({**WORDS, "components": LABELS})
    known = analyse(
        mind, experiment(0, truth={"components": [{"component": "norm", "origin": "original"}]}), [], [], []
    )
    assert known.components == (Component(component="norm", origin="original", labelled_by="truth"),)
    judged = analyse(mind, experiment(0, truth={}), [], [], [])
    assert judged.components == (Component(component="gate", origin="cognition", labelled_by="model"),)
    assert judged.words == WORDS


def test_an_answer_that_cannot_be_read_is_an_analysis_without_words(experiment):
    analysis = analyse(Recording(None), experiment(0, truth={}), [], [], [])
    assert analysis.words == dict.fromkeys(WORDS, "")
    assert analysis.components == ()


def test_a_components_gain_is_the_mean_of_parents_minus_children_that_added_it(experiment):
    seen = [
        experiment(0, honest_loss=2.0, components=(gate(),)),  # a start: nothing to compare with
        experiment(1, parent=0, honest_loss=1.9, components=(gate(),)),
        experiment(2, parent=1, honest_loss=2.2, components=(gate("analysis"),)),
        experiment(3, parent=1, status="crashed", honest_loss=None, components=(gate(),)),
        experiment(4, parent=3, honest_loss=1.0, components=(gate(),)),  # its parent has no loss
    ]
    (row,) = component_statistics(seen)
    assert row == {"component": "gate", "with": 2, "gain": pytest.approx((0.1 - 0.3) / 2)}
