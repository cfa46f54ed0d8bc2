"""Keyword rules: what counts as a word of the design, and what the code confirms."""

from __future__ import annotations

import pytest
import yaml

from audit.origins.rules import RULES, code_text, read_rules

CODE = '''
"""A docstring about temperature."""
import torch  # floor

class Mixer:
    """Another: entropy."""

    def forward(self, x):
        text = "temp"
        return x * self.gate(x)
'''


@pytest.fixture(scope="module")
def rules():
    return read_rules()


def test_a_category_needs_both_the_word_and_the_code(rules):
    assert "Gating System" in rules.label("We add a learned gate.", CODE)
    assert "Gating System" not in rules.label("We add a learned gate.", "x = 1")
    assert "Gating System" not in rules.label("We add a norm.", CODE)


@pytest.mark.parametrize(
    "sentence", ["Previous designs used a gate.", "The gate is unchanged.", "The gate was a bottleneck."]
)
def test_sentences_about_other_designs_count_for_nothing_but_the_loosest_reading(rules, sentence):
    assert rules.label(sentence, CODE) == ()
    assert rules.label_words(sentence) == ("Gating System",)


def test_a_sentence_about_the_design_counts_beside_one_about_others(rules):
    assert "Gating System" in rules.label("Earlier designs failed.\nWe add gating.", CODE)


def test_docstrings_and_comments_are_no_code():
    kept = code_text(CODE)
    assert "gate" in kept
    assert '"temp"' in kept
    for word in ("temperature", "floor", "entropy"):
        assert word not in kept


def test_a_text_that_is_no_python_is_matched_as_it_stands():
    assert code_text('def f(:\n    """doc"""\n    gate = 1  # note\n').split() == ["def", "f(:", "gate", "=", "1"]


def test_deeply_nested_code_of_a_stranger_is_no_error():
    assert "gate" in code_text("gate = " + "(" * 5000 + "1" + ")" * 5000)


def test_a_program_has_each_category_once_whatever_the_words_are(rules):
    labels = rules.label("gate gate gating gates", CODE)
    assert len(labels) == len(set(labels)) == 1


def test_every_rule_can_give_its_category(rules):
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    assert [rule.category for rule in rules.rules] == list(document["categories"])
    assert all(rule.words.search("") is None for rule in rules.rules), "a rule that matches everything says nothing"


def test_the_rules_speak_of_the_published_categories(rules, published_root):
    lines = (published_root / "figure7.csv").read_text(encoding="utf-8").splitlines()[1:]
    known = {line.split(",")[0] for line in lines}
    assert {rule.category for rule in rules.rules} <= known
