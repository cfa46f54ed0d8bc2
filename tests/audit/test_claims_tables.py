"""Claims on averages, wins, spread and filters, on small tables whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.claims.tables import TABLE_CHECKS
from audit.sheets import Sheet, SheetTable
from audit.statistics.benchmarks import difference_se
from replication.settings import InputError, typed

ITEMS = {"easy": 1000, "hard": 1000, "odd": 1000, "vast": 10**8}
TASKS = ["easy", "hard", "odd"]


def sheet(name: str, rows: list[dict[str, Any]]) -> Sheet:
    cells = pd.DataFrame(rows, dtype=object)
    cells.index = pd.RangeIndex(1, len(cells) + 1)
    return Sheet(name, f"{name}.csv", cells)


def run(check: str, parameters: dict[str, Any], *sheets: Sheet, sesoi: float | None = None) -> Outcome:
    evidence = ClaimEvidence(sheets=SheetTable({one.name: one for one in sheets}), items=ITEMS)
    decision = Decision(level=0.95, sesoi=sesoi, resamples=2000, seed=1, withheld=frozenset())
    entry = TABLE_CHECKS[check]
    return entry.run(evidence, typed(entry.parameters, parameters, check), decision)


def models(scores: dict[str, list[float | str]]) -> Sheet:
    return sheet(
        "results", [{"model": name, **dict(zip(TASKS, map(str, row), strict=True))} for name, row in scores.items()]
    )


def arms(*baselines: str, name: str = "results") -> dict[str, Any]:
    return {"sheet": name, "label": "model", "baselines": list(baselines), "left_out": []}


def benchmarks(**changed: Any) -> dict[str, Any]:
    return {"columns": TASKS, "benchmarks": TASKS, "unit": 100, "items_each": None, **changed}


def means(table: Sheet, sesoi: float | None = None, **changed: Any) -> Outcome:
    parameters = {"arms": arms("old"), "accuracies": benchmarks(), "rho": 0.5, "rhos": [0.0], "without_each": False}
    return run("means_exceed", {**parameters, **changed}, table, sesoi=sesoi)


def test_means_far_above_a_baseline_support_the_claim_and_far_below_contradict_it() -> None:
    old = [40.0, 40.0, 40.0]
    assert means(models({"old": old, "a": [60.0] * 3, "b": [55.0] * 3})).verdict == "supported"
    assert means(models({"old": old, "a": [60.0] * 3, "b": [25.0] * 3})).verdict == "contradicted"


def test_means_within_the_sampling_error_are_inconclusive_although_higher_as_printed() -> None:
    found = means(models({"old": [40.0] * 3, "a": [40.5] * 3, "b": [41.0] * 3}))
    assert found.verdict == "inconclusive"
    assert "2 of 2 differences are above 0; 0 by more" in found.answer
    assert found.estimate == pytest.approx(0.5)
    assert found.interval is not None
    assert found.interval[0] < 0.0 < found.interval[1]


def test_means_that_differ_by_less_than_the_smallest_effect_of_interest_contradict_the_claim() -> None:
    table = sheet("results", [{"model": "old", "vast": "40.00"}, {"model": "a", "vast": "40.10"}])
    parameters = {"accuracies": benchmarks(columns=["vast"], benchmarks=["vast"])}
    assert means(table, sesoi=0.5, **parameters).verdict == "contradicted"
    assert means(table, sesoi=None, **parameters).verdict == "supported"


def test_a_difference_carried_by_one_benchmark_is_not_enough_where_each_must_hold_alone() -> None:
    table = models({"old": [40.0, 40.0, 10.0], "a": [39.0, 39.0, 60.0]})
    assert means(table, without_each=False).verdict == "supported"
    found = means(table, without_each=True)
    assert found.verdict == "inconclusive"
    assert "without odd" in found.answer


def test_the_standard_error_shown_is_that_of_the_items_at_the_assumed_correlation() -> None:
    found = means(models({"old": [40.0, 50.0, 30.0], "a": [45.0, 55.0, 35.0]}), rho=0.3)
    assert found.rows is not None
    expected = 100 * difference_se([0.45, 0.55, 0.35], [0.4, 0.5, 0.3], [1000] * 3, 0.3)
    assert float(found.rows.loc[0, "se"]) == pytest.approx(expected)


def test_a_candidate_with_a_missing_or_impossible_accuracy_is_named_and_bars_support() -> None:
    for cell in ("", "nan", "140.0"):
        found = means(models({"old": [20.0] * 3, "a": [60.0] * 3, "gap": [60.0, cell, 60.0]}))
        assert found.verdict == "inconclusive"
        assert found.details["left_out"] == ["gap"]
        assert found.n == 1


def test_a_baseline_that_is_not_there_or_there_twice_makes_the_claim_not_testable() -> None:
    for names in (["a"], ["old", "old", "a"]):
        found = means(sheet("results", [{"model": name, **dict.fromkeys(TASKS, "40.0")} for name in names]))
        assert found.verdict == "not_testable"
        assert "'old'" in found.answer


def test_a_benchmark_without_items_is_an_error_of_the_registry() -> None:
    with pytest.raises(InputError, match="'unheard'"):
        means(
            models({"old": [40.0] * 3, "a": [41.0] * 3}), accuracies=benchmarks(benchmarks=["easy", "hard", "unheard"])
        )


def wins(table: Sheet, **changed: Any) -> Outcome:
    parameters = {
        "arms": arms("old"),
        "accuracies": benchmarks(),
        "lower": [],
        "rho": 0.5,
        "most": 0.5,
        "exceptions": 0,
    }
    return run("wins_on_most", {**parameters, **changed}, table)


def test_wins_on_most_needs_wins_beyond_error_and_is_contradicted_where_even_the_printed_ones_are_few() -> None:
    assert wins(models({"old": [40.0] * 3, "a": [60.0, 60.0, 30.0]})).verdict == "supported"
    assert wins(models({"old": [40.0] * 3, "a": [40.5, 40.5, 39.9]})).verdict == "inconclusive"
    assert wins(models({"old": [40.0] * 3, "a": [60.0, 39.9, 39.9]})).verdict == "contradicted"


def test_wins_on_most_allows_the_stated_number_of_failing_baselines() -> None:
    table = models({"old": [40.0] * 3, "older": [90.0] * 3, "a": [60.0, 60.0, 60.0]})
    assert wins(table, arms=arms("old", "older"), exceptions=0).verdict == "contradicted"
    assert wins(
        models({"old": [40.0] * 3, "older": [60.1] * 3, "a": [60.0] * 3}), arms=arms("old", "older")
    ).verdict == ("contradicted")
    near = models({"old": [40.0] * 3, "older": [60.1] * 3, "a": [60.0] * 3})
    assert wins(near, arms=arms("old", "older"), exceptions=1).verdict == "supported"


def test_a_column_where_lower_is_better_counts_as_a_win_when_lower_but_never_as_a_sure_one() -> None:
    rows = [{"model": "old", "easy": "40.0", "ppl": "30.0"}, {"model": "a", "easy": "40.0", "ppl": "20.0"}]
    found = wins(sheet("results", rows), accuracies=benchmarks(columns=["easy"], benchmarks=["easy"]), lower=["ppl"])
    (pair,) = found.details["pairs"]
    assert (pair["won"], pair["lost"], pair["surely_won"]) == (1, 0, 0)


def spread(scores: np.ndarray, unit: float) -> Outcome:
    names = {f"m{i}": [f"{value * unit:.9f}" for value in row] for i, row in enumerate(scores)}
    accuracies = benchmarks(unit=unit)
    return run("spread", {"arms": arms(), "accuracies": accuracies, "rho": 0.0, "rhos": [0.5]}, models(names))


def test_spread_of_equal_models_is_sampling_noise_and_that_of_unequal_ones_is_not() -> None:
    rng = np.random.default_rng(0)
    equal = rng.binomial(1000, 0.4, size=(200, 3)) / 1000
    unequal = np.linspace(0.2, 0.8, 200)[:, None] + np.zeros((1, 3))
    assert spread(equal, 100).estimate == pytest.approx(1.0, abs=0.15)
    assert spread(unequal, 100).estimate < 0.01  # type: ignore[operator]
    assert spread(equal, 1).answer == spread(equal, 100).answer


def gains(rows: list[tuple[str, str, str]]) -> Sheet:
    return sheet("results", [{"model": name, "loss": loss, "score": score} for name, loss, score in rows])


def filtered(table: Sheet, **changed: Any) -> Outcome:
    parameters = {"arms": arms("old"), "better": {"loss": "lower", "score": "higher"}, "stated": 2, "complete": True}
    return run("filter_met", {**parameters, "yardstick": None, **changed}, table)


def test_a_row_that_breaks_the_stated_filter_contradicts_it_and_is_named_with_its_values() -> None:
    table = gains([("old", "3.5", "40.0"), ("a", "3.4", "41.0"), ("b", "3.4", "40.0")])
    found = filtered(table)
    assert found.verdict == "contradicted"
    assert "not: b (score 40 against 40)" in found.answer
    assert found.rows is not None
    assert list(found.rows.loc[~found.rows["met"], "row"]) == [3]


def test_a_filter_that_every_row_meets_is_supported_only_where_the_table_holds_every_attempt() -> None:
    table = gains([("old", "3.5", "40.0"), ("a", "3.4", "41.0"), ("b", "3.4", "40.1")])
    assert filtered(table).verdict == "supported"
    assert filtered(table, complete=False).verdict == "inconclusive"
    assert filtered(table, stated=1).verdict == "contradicted"
    assert filtered(gains([("old", "3.5", "40.0"), ("a", "", "41.0")])).verdict == "contradicted"


def test_equal_models_pass_two_uncorrelated_filters_a_quarter_of_the_time_on_average() -> None:
    table = gains([("old", "3.5", "40.0"), ("a", "3.4", "41.0")])
    yardstick = {"attempts": 400, "correlations": [0.0], "baseline_noise": [0.01, 1.0]}
    exact, shared = filtered(table, complete=False, yardstick=yardstick).details["null"]
    assert exact["mean"] == pytest.approx(100, rel=0.02)
    assert exact["high"] < 125
    assert shared["high"] > 250


def passes(scores: list[float], stated: int) -> Outcome:
    parameters = {
        "score": {"sheet": "tree", "column": "score"},
        "terms": 3,
        "compared": 2,
        "even": 0.5,
        "cap": 1.0,
        "stated": stated,
        "arms": arms("old"),
        "better": {"loss": "lower", "score": "higher"},
        "yardstick": {"attempts": 10, "correlations": [0.0], "baseline_noise": [1.0]},
    }
    table = gains([("old", "3.5", "40.0"), ("a", "3.4", "41.0")])
    return run("passes_claimed", parameters, sheet("tree", [{"score": score} for score in scores]), table)


def test_bounds_on_claimed_passes_hold_for_every_way_of_making_up_the_totals() -> None:
    rng = np.random.default_rng(3)
    terms = rng.uniform(size=(200, 3))
    true = int(((terms[:, 0] > 0.5) & (terms[:, 1] > 0.5)).sum())
    found = passes(list(terms.sum(axis=1)), true)
    assert found.verdict == "inconclusive"
    assert found.details["fewest"] <= true <= found.details["most"]


def test_a_claimed_number_outside_the_bounds_is_contradicted() -> None:
    assert passes([0.9, 2.9, 2.9, 1.5], 4).verdict == "contradicted"
    assert passes([0.9, 2.9, 2.9, 1.5], 1).verdict == "contradicted"
    assert passes([0.9, 2.9, 2.9, 0.5], 2).verdict == "supported"
