"""The released fitness arithmetic: golden values, limits, and failures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from loop.fitness import (
    FitnessSettings,
    Outcome,
    benchmark_term,
    discards,
    fitness,
    gain_term,
    judge_mark,
    judge_term,
    loss_term,
    score,
)
from replication.settings import typed

CONF = Path(__file__).parents[2] / "conf" / "fitness" / "asi_arch.yaml"


@pytest.fixture(scope="module")
def settings() -> FitnessSettings:
    return typed(FitnessSettings, yaml.safe_load(CONF.read_text(encoding="utf-8")), "fitness")


def test_the_baseline_scores_one_half_in_both_measured_terms(settings):
    assert float(loss_term(4.575, settings)) == 0.5
    assert float(benchmark_term(0.224, settings)) == pytest.approx(0.5, abs=1e-12)


def test_golden_values_of_the_released_code(settings):
    terms = [loss_term(4.5787, settings), benchmark_term(0.2236923, settings), judge_term(7.05, settings)]
    assert [float(term) for term in terms[::2]] == pytest.approx([0.4878712, 0.6722222], abs=1e-7)
    # The benchmark is given to seven digits: half a unit of the last is 4e-6 of its term.
    assert float(terms[1]) == pytest.approx(0.4794073, abs=4e-6)
    assert float(score(4.5787, 0.2236923, 7.05, settings)) == pytest.approx(sum(map(float, terms)), abs=1e-15)


def test_gains_beyond_the_window_count_no_further(settings):
    at_edge = loss_term(4.575 * 0.9, settings)
    assert loss_term(3.0, settings) == pytest.approx(at_edge, rel=1e-12)
    assert float(at_edge) == pytest.approx(1.0 / (1.0 + np.exp(-6.0)), rel=1e-9)
    assert float(loss_term(9.0, settings)) == pytest.approx(1.0 - float(at_edge), rel=1e-9)


def test_a_run_without_a_finite_result_has_no_score(settings):
    losses = np.array([4.5, np.nan, np.inf, -np.inf])
    assert np.isnan(score(losses, 0.224, 5.0, settings)).tolist() == [False, True, True, True]
    assert np.isnan(score(4.5, np.nan, 5.0, settings))
    assert np.isnan(score(4.5, 0.224, np.nan, settings))


def test_arrays_broadcast_and_give_what_single_values_give(settings):
    losses, benchmarks = np.linspace(4.0, 5.0, 7)[:, None], np.linspace(0.19, 0.26, 5)
    table = score(losses, benchmarks, 6.0, settings)
    assert table.shape == (7, 5)
    assert table[3, 2] == score(losses[3, 0], benchmarks[2], 6.0, settings)


def test_a_better_result_never_scores_lower(settings):
    assert (np.diff(loss_term(np.linspace(3.0, 6.0, 200), settings)) <= 0.0).all()
    assert (np.diff(benchmark_term(np.linspace(0.1, 0.4, 200), settings)) >= 0.0).all()
    assert gain_term(0.02, settings) > gain_term(0.01, settings)


def test_a_mark_is_recovered_from_its_term(settings):
    marks = np.array([1.0, 5.0, 7.05, 10.0])
    assert judge_mark(judge_term(marks, settings), settings) == pytest.approx(marks)


@pytest.mark.parametrize("mark", [0.9, 10.1, np.inf])
def test_a_mark_off_the_scale_is_refused(settings, mark):
    with pytest.raises(ValueError, match="between 1 and 10"):
        judge_term(mark, settings)


@pytest.mark.parametrize("change", [{"window": 0.0}, {"baseline_loss": -1.0}, {"judge_highest": 1.0}])
def test_settings_without_meaning_are_refused(settings, change):
    with pytest.raises(ValueError, match="fitness"):
        FitnessSettings(**{**vars(settings), **change})


def outcome(**changes) -> Outcome:
    values = {"loss": 4.5, "honest_loss": 4.5, "benchmark": 0.224, "mark": 5.5, "certified": True}
    return Outcome(**(values | changes))


def test_the_papers_fitness_is_the_mean_and_the_released_one_the_sum(settings):
    found = fitness(outcome(), settings)
    expected = float(score(4.5, 0.224, 5.5, settings))
    assert found["paper"] == pytest.approx(expected / 3, rel=1e-12)
    assert found["released_code"] == pytest.approx(expected, rel=1e-12)
    assert found["strict"] == found["paper"]


def test_the_strict_fitness_takes_back_what_was_seen_ahead(settings):
    found = fitness(outcome(loss=4.3, honest_loss=4.6, certified=False), settings)
    assert found["strict"] < fitness(outcome(loss=4.575, honest_loss=4.575), settings)["strict"] < found["paper"]


@pytest.mark.parametrize("loss", [4.1, 5.05])
def test_the_released_filter_leaves_no_fitness_for_losses_far_off_either_way(settings, loss):
    found = fitness(outcome(loss=loss, honest_loss=loss), settings)
    assert "released_code" not in found
    assert "strict" in found


def test_a_missing_mark_leaves_no_fitness_at_all(settings):
    assert fitness(outcome(mark=float("nan")), settings) == {}


def test_what_each_rule_would_have_said(settings):
    said = discards(outcome(loss=4.575 * 0.95, certified=False), settings)
    assert said == {"below_2": True, "below_10": False, "released_code": False, "certificate": True}
    assert discards(outcome(benchmark=0.2), settings)["released_code"]
    assert discards(outcome(loss=4.575 * 0.85), settings)["below_10"]
