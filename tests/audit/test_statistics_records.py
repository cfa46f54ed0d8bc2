"""Records: hand counts, the theory of independent results, and exact sampling without replacement."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from audit.statistics.records import (
    expected_best,
    expected_records,
    noisy_records,
    record_count_test,
    record_flags,
)

NAN = math.nan


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_record_beats_everything_before_it() -> None:
    values = [3.0, NAN, 2.5, 2.5, 2.7, 2.0, NAN, 1.9]
    assert record_flags(values, False).tolist() == [False, False, True, False, False, True, False, True]
    assert record_flags(values, True).tolist() == [False] * 8


def test_the_first_finite_result_is_the_start() -> None:
    assert record_flags([NAN, 1.0, 2.0], True).tolist() == [False, False, True]


def test_expected_records_are_those_of_all_orders() -> None:
    counts = [int(record_flags(order, True).sum()) for order in itertools.permutations(range(6))]
    mean, variance = expected_records(6)
    assert mean == pytest.approx(np.mean(counts))
    assert variance == pytest.approx(np.var(counts))
    assert expected_records(1) == (0.0, 0.0)


def test_a_search_that_always_improves_has_too_many_records() -> None:
    found = record_count_test(np.arange(50.0), True, rng(), 999)
    assert (found.count, found.n) == (49, 50)
    assert found.p_value == pytest.approx(2 / 1000)
    assert found.expected == pytest.approx(expected_records(50)[0], abs=0.3)
    assert found.interval[0] <= found.expected <= found.interval[1] < 49


def test_an_order_without_learning_has_a_common_count() -> None:
    values = rng(3).random(200)
    found = record_count_test(np.append(values, NAN), False, rng(), 999)
    assert found.n == 200
    assert found.p_value > 0.05


def test_ties_are_no_records_in_any_order() -> None:
    found = record_count_test([1.0] * 10, True, rng(), 99)
    assert (found.count, found.expected, found.p_value) == (0, 0.0, 1.0)
    with pytest.raises(ValueError, match="2 results"):
        record_count_test([1.0, NAN], True, rng(), 99)


def test_without_noise_probabilities_are_the_records() -> None:
    values = [3.0, 2.0, NAN, 2.5, 1.0]
    assert noisy_records(values, 0.0, rng(), 50, False).tolist() == record_flags(values, False).astype(float).tolist()


def test_two_equal_results_are_a_coin_toss_and_far_ones_are_sure() -> None:
    values = [0.0, 10.0, 10.0, -10.0, 50.0]
    chances = noisy_records(values, 0.5, rng(), 4000, True)
    assert chances[[0, 3, 4]] == pytest.approx([0.0, 0.0, 1.0])
    assert chances[1] == pytest.approx(1.0)
    assert chances[2] == pytest.approx(0.5, abs=0.03)


def test_the_posterior_of_two_results_is_that_of_normal_shrinkage() -> None:
    """Values 0 and 2, variance 2, SD 1: half is kept, so means 1 apart with variances 1/2 each, and P = Phi(1)."""
    assert noisy_records([0.0, 2.0], 1.0, rng(), 20_000, True)[1] == pytest.approx(0.8413, abs=0.01)


def test_results_that_vary_no_more_than_noise_hold_no_record() -> None:
    assert noisy_records([0.0, 0.1, 0.2, 0.3], 1.0, rng(), 100, True).tolist() == [0.0] * 4
    with pytest.raises(ValueError, match="sd must"):
        noisy_records([0.0, 1.0], -1.0, rng(), 10, True)


def test_the_same_generator_gives_the_same_probabilities() -> None:
    values = rng(9).random(20)
    first, again, other = (noisy_records(values, 0.2, rng(seed), 200, True) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_best_of_n_is_that_of_all_subsets() -> None:
    values = [4.0, 1.0, 3.0, 3.0, 9.0, 2.0]
    table = expected_best(values, [1, 2, 4, 6], 0.5, False).set_index("size")
    for size in (1, 2, 4, 6):
        best = [min(subset) for subset in itertools.combinations(values, size)]
        assert table.loc[size, "mean"] == pytest.approx(np.mean(best))
        assert np.mean([table.loc[size, "low"] <= value <= table.loc[size, "high"] for value in best]) >= 0.5


def test_failed_runs_take_a_draw() -> None:
    values = [NAN, NAN, 5.0, 1.0]
    table = expected_best(values, [1, 2, 4], 0.95, True).set_index("size")
    # Of the six pairs one is empty, three hold the 5 and two the 1 alone.
    assert table.loc[2, "mean"] == pytest.approx((3 * 5.0 + 2 * 1.0) / 5)
    assert table.loc[1, "mean"] == pytest.approx(3.0)
    assert table.loc[4, ["mean", "low", "high"]].tolist() == [5.0, 5.0, 5.0]


def test_bands_hold_the_best_as_often_as_they_say() -> None:
    values = rng(1).normal(size=400)
    row = expected_best(values, [40], 0.9, True).iloc[0]
    drawn = [rng(seed).choice(values, 40, replace=False).max() for seed in range(2000)]
    assert row["mean"] == pytest.approx(np.mean(drawn), abs=0.03)
    # The largest of 400 is the best of 40 in a tenth of all draws, so the band holds it as well: 0.95.
    assert np.mean([row["low"] <= value <= row["high"] for value in drawn]) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("values", "sizes"), [([NAN], [1]), ([1.0, 2.0], [3]), ([1.0, 2.0], [0])])
def test_sizes_beyond_the_run_are_refused(values: list[float], sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="sizes from 1"):
        expected_best(values, sizes, 0.95, True)
