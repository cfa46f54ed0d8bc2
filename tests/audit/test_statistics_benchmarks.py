"""Sampling error of benchmark averages, against binomial arithmetic and simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from audit.statistics.benchmarks import accuracy_se, compare_with_baselines, difference_se, leave_one_out

ITEMS = [1000, 2000, 500]


def compared(candidates: object, baselines: object, items: object = ITEMS, rho: float = 0.5) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return compare_with_baselines(candidates, baselines, items, rho=rho, level=0.95, rng=rng, draws=20_000)  # type: ignore[arg-type]


def test_one_benchmark_has_the_binomial_standard_error() -> None:
    assert accuracy_se([0.3], [1000]) == pytest.approx(math.sqrt(0.3 * 0.7 / 1000))


def test_the_mean_of_benchmarks_adds_their_variances_and_divides_by_their_number_squared() -> None:
    variances = [0.3 * 0.7 / 1000, 0.5 * 0.5 / 2000, 0.9 * 0.1 / 500]
    assert accuracy_se([0.3, 0.5, 0.9], ITEMS) == pytest.approx(math.sqrt(sum(variances)) / 3)


def test_shared_items_cancel_in_a_difference_by_the_formula_of_paired_proportions() -> None:
    p, q, n, rho = 0.42, 0.40, 800, 0.6
    variance = (p * (1 - p) + q * (1 - q) - 2 * rho * math.sqrt(p * (1 - p) * q * (1 - q))) / n
    assert difference_se([p], [q], [n], rho) == pytest.approx(math.sqrt(variance))
    errors = [difference_se([p], [q], [n], r) for r in (0.0, 0.3, 0.5, 0.7)]
    assert errors == sorted(errors, reverse=True)


def test_accuracies_far_apart_cannot_correlate_more_than_their_margins_allow() -> None:
    """All of the worse model's right answers are the better one's too: the difference is a proportion of its own."""
    p, q, n = 0.9, 0.1, 100
    assert difference_se([p], [q], [n], 0.95) == pytest.approx(math.sqrt((p - q) * (1 - (p - q)) / n))


def test_comparisons_give_each_pair_its_own_difference_and_error() -> None:
    candidates, baselines = [[0.5, 0.6, 0.4], [0.45, 0.61, 0.38]], [[0.48, 0.55, 0.4], [0.4, 0.5, 0.3]]
    table = compared(candidates, baselines)
    assert table[["candidate", "baseline"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    row = table.iloc[2]
    assert row["difference"] == pytest.approx(np.mean(candidates[1]) - np.mean(baselines[0]))
    assert row["se"] == pytest.approx(difference_se(candidates[1], baselines[0], ITEMS, 0.5))
    assert row["z"] == pytest.approx(row["difference"] / row["se"])


def test_one_comparison_needs_no_correction() -> None:
    row = compared([[0.5, 0.6, 0.4]], [[0.48, 0.55, 0.4]]).iloc[0]
    assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * row["se"], rel=0.02)
    assert row["p_simultaneous"] == pytest.approx(row["p_value"], abs=0.01)
    assert row["p_holm"] == row["p_bh"] == row["p_value"]


def test_limits_that_know_of_the_shared_baseline_are_narrower_than_bonferroni_and_wider_than_single_ones() -> None:
    table = compared(np.full((50, 3), 0.45), [[0.44, 0.44, 0.44]])
    reach = float((table["high"] - table["low"]).iloc[0] / 2 / table["se"].iloc[0])
    assert 1.96 < reach < 3.2
    bonferroni = 3.29  # normal quantile at 0.05 / 100
    assert reach < bonferroni - 0.1
    assert (table["p_simultaneous"] >= table["p_value"]).all()


def test_models_that_answer_everything_leave_no_error_to_test_against() -> None:
    row = compared([[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]]).iloc[0]
    assert row["difference"] == 1.0
    assert np.isnan([row["z"], row["p_value"], row["low"], row["high"]]).all()
    assert row["p_holm"] == row["p_simultaneous"] == 1.0


def test_the_same_seed_gives_the_same_limits_and_another_seed_others() -> None:
    def limits(seed: int) -> list[float]:
        rng = np.random.default_rng(seed)
        ours = np.linspace(0.4, 0.5, 8)[:, None].repeat(3, 1)
        table = compare_with_baselines(ours, [[0.44] * 3], ITEMS, rho=0.3, level=0.95, rng=rng, draws=500)
        return [float(value) for value in table["low"]]

    assert limits(1) == limits(1)
    assert limits(1) != limits(2)


def test_leaving_a_benchmark_out_shows_which_one_carries_a_lead() -> None:
    table = leave_one_out([0.5, 0.5, 0.9], [0.5, 0.5, 0.5], ITEMS, ["a", "b", "c"], rho=0.5, level=0.95)
    lead = table.set_index("left_out")["difference"]
    assert lead.to_dict() == pytest.approx({"": 0.4 / 3, "a": 0.2, "b": 0.2, "c": 0.0})
    assert table.set_index("left_out").loc["c", "p_value"] == 1.0
    expected = difference_se([0.5, 0.9], [0.5, 0.5], [2000, 500], 0.5)
    assert table.set_index("left_out").loc["a", "se"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("accuracy", "items", "words"),
    [
        ([48.0], [500], "fractions"),
        ([math.nan], [500], "fractions"),
        ([0.5, 0.5], [500], "one value a benchmark"),
        ([0.5], [0], "at least one item"),
    ],
)
def test_numbers_that_are_no_accuracies_are_refused(accuracy: list[float], items: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        accuracy_se(accuracy, items)


def test_a_correlation_outside_its_range_is_refused() -> None:
    for rho in (-0.1, 1.0):
        with pytest.raises(ValueError, match="rho"):
            difference_se([0.5], [0.4], [100], rho)
