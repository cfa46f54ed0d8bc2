"""Shares of clustered units: against statsmodels, exact cases, and what makes no sense."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import stats

from audit.statistics.clusters import (
    cluster_difference,
    cluster_share,
    rao_scott,
    resampled_sums,
    share_difference_by_n,
)
from audit.statistics.shares import share_difference, smallest_significant

# Survival of rat pups by litter: control and treated (Weil 1970, the example of Rao and Scott 1992).
CONTROL = (
    [13, 12, 9, 9, 8, 8, 12, 11, 9, 9, 8, 11, 4, 5, 7, 7],
    [13, 12, 9, 9, 8, 8, 13, 12, 10, 10, 9, 13, 5, 7, 10, 10],
)
TREATED = (
    [12, 11, 10, 9, 10, 9, 9, 8, 8, 4, 7, 4, 5, 3, 3, 0],
    [12, 11, 10, 9, 11, 10, 10, 9, 9, 5, 9, 7, 10, 6, 10, 7],
)


def _rng() -> np.random.Generator:
    return np.random.default_rng(5)


def _table(counts: tuple[list[int], list[int]]) -> NDArray[np.float64]:
    yes, total = (np.array(part, dtype=np.float64) for part in counts)
    return np.column_stack([yes, total - yes])


def _robust_z2(*groups: tuple[list[int], list[int]]) -> float:
    """Squared z of the difference, from a regression of single units with cluster-robust errors."""
    outcome, group, cluster = [], [], []
    for which, counts in enumerate(groups):
        for litter, (yes, total) in enumerate(zip(*counts, strict=True)):
            outcome += [1.0] * yes + [0.0] * (total - yes)
            group += [float(which)] * total
            cluster += [100 * which + litter] * total
    fit = sm.OLS(outcome, sm.add_constant(group)).fit(
        cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}
    )
    return float(fit.tvalues[1] ** 2)


def test_two_categories_give_the_cluster_robust_test_of_statsmodels() -> None:
    table = np.vstack([_table(CONTROL), _table(TREATED)])
    found = rao_scott(table, ["control"] * 16 + ["treated"] * 16)
    assert found.statistic * 16 / 15 == pytest.approx(_robust_z2(CONTROL, TREATED), rel=1e-9)
    assert found.df == pytest.approx((1.0, 15.0))
    assert found.p_value == pytest.approx(stats.f.sf(found.statistic, 1, 15))


def test_clusters_of_one_unit_give_pearson_s_chi_square() -> None:
    counts = np.array([[30, 50, 20], [60, 60, 80]])
    table = np.repeat(np.vstack([np.eye(3), np.eye(3)]), counts.ravel(), axis=0)
    found = rao_scott(table, np.repeat([0, 1], counts.sum(axis=1)))
    pearson = stats.chi2_contingency(counts, correction=False)
    # Variances of the groups' own shares, not of the pooled ones: near, not equal.
    assert found.statistic * found.design_effect * 2 == pytest.approx(pearson.statistic, rel=1e-12)
    assert found.design_effect == pytest.approx(1.0, abs=0.06)
    assert found.p_value == pytest.approx(pearson.pvalue, rel=0.25)


def test_copies_within_clusters_raise_the_design_effect_and_leave_the_test_as_it_is() -> None:
    rng = _rng()
    table, group = rng.multinomial(1, [0.3, 0.5, 0.2], 120), np.arange(120) < 40
    single, copied = rao_scott(table, group), rao_scott(5 * table, group)
    assert copied.design_effect == pytest.approx(5.0 * single.design_effect)
    assert (copied.statistic, copied.p_value) == pytest.approx((single.statistic, single.p_value))


def test_a_category_nobody_has_and_the_order_of_categories_change_nothing() -> None:
    rng = _rng()
    table, group = rng.multinomial(5, [0.3, 0.5, 0.2], 60), np.arange(60) < 25
    wider = np.column_stack([table[:, ::-1], np.zeros(60)])
    assert rao_scott(wider, group).p_value == pytest.approx(rao_scott(table, group).p_value)


@pytest.mark.parametrize(
    ("table", "group"),
    [([[3.0], [2.0], [1.0], [4.0]], [0, 0, 1, 1]), ([[1.0, 2.0]] * 3, [0, 1, 1]), ([[1.0, 1.0]] * 4, [0, 0, 1, 1])],
)
def test_a_table_that_tells_nothing_has_no_test(table: list[list[float]], group: list[int]) -> None:
    found = rao_scott(table, group)
    assert math.isnan(found.statistic)
    assert math.isnan(found.p_value)


def test_three_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="one of two groups"):
        rao_scott(np.ones((3, 2)), [0, 1, 2])


def test_the_share_is_that_of_all_units_and_copies_do_not_narrow_its_interval() -> None:
    yes, total = (np.array(part) for part in CONTROL)
    once = cluster_share(yes, total, 0.95, _rng(), 4000)
    assert once.estimate == pytest.approx(142 / 158)
    assert once.n == 16
    thrice = cluster_share(3 * yes, 3 * total, 0.95, _rng(), 4000)
    assert thrice.interval == pytest.approx(once.interval)


def test_units_that_cluster_get_a_wider_interval_than_independent_ones() -> None:
    spread = cluster_share(np.tile([2, 2], 50), np.full(100, 5), 0.95, _rng(), 1000).interval
    clustered = cluster_share(np.tile([0, 4], 50), np.full(100, 5), 0.95, _rng(), 1000).interval
    assert spread[0] > clustered[0]
    assert clustered[1] - clustered[0] > 1.5 * (spread[1] - spread[0])


def test_no_success_at_all_counts_each_cluster_once() -> None:
    found = cluster_share(np.zeros(30), np.full(30, 5), 0.95, _rng(), 200)
    assert found.interval[0] == pytest.approx(0.0, abs=1e-12)
    assert 0.1 < found.interval[1] < 0.15


def test_few_clusters_give_no_interval_and_empty_ones_are_no_clusters() -> None:
    found = cluster_share([1] * 9 + [0, 0], [2] * 9 + [0, 0], 0.95, _rng(), 100)
    assert (found.estimate, found.n) == (0.5, 9)
    assert math.isnan(found.interval[0])
    gap = cluster_difference([1] * 9, [2] * 9, [1] * 50, [4] * 50, 0.95, _rng(), 100)
    assert gap.estimate == 0.25
    assert math.isnan(gap.p_value)
    assert math.isnan(gap.interval[1])


def test_a_difference_is_judged_by_its_clusters() -> None:
    found = cluster_difference(*CONTROL, *TREATED, 0.95, _rng(), 4000)
    assert found.estimate == pytest.approx(142 / 158 - 112 / 145)
    assert found.n == (16, 16)
    naive = share_difference(142 / 158, 158, 112 / 145, 145, 0.95)
    assert naive.p_value < 0.01 < found.p_value
    assert found.interval[0] < naive.interval[0] < naive.interval[1] < found.interval[1]


def test_more_successes_than_units_are_refused() -> None:
    with pytest.raises(ValueError, match="more successes than units"):
        cluster_share([3], [2], 0.95, _rng(), 10)


def test_clusters_are_drawn_whole_and_from_the_generator() -> None:
    table = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    sums = resampled_sums(table, _rng(), 500)
    assert sums[:, 1] == pytest.approx(10.0 * sums[:, 0])
    assert sums[:, 0].mean() == pytest.approx(7.0, abs=0.4)
    assert (sums == resampled_sums(table, _rng(), 500)).all()
    assert (sums != resampled_sums(table, np.random.default_rng(6), 500)).any()


def test_a_printed_difference_becomes_significant_where_it_should() -> None:
    smallest = smallest_significant(0.45, 0.38, 15.0, 0.95)
    assert smallest is not None
    table = share_difference_by_n(
        0.45, 0.38, [smallest - 1, smallest, 3 * smallest], 15.0, 0.95, design_effects=(1.0, 3.0)
    )
    assert (table["p_value"] < 0.05).tolist() == [False, True, True, False, False, True]
    assert table["n_second"].iloc[0] == 15.0 * (smallest - 1)
    assert table["design_effect"].tolist() == [1.0] * 3 + [3.0] * 3
    # A third as many independent units tell as much as all with a design effect of 3.
    assert table.iloc[5][["low", "high"]].tolist() == pytest.approx(table.iloc[1][["low", "high"]].tolist())


def test_a_design_effect_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        share_difference_by_n(0.4, 0.3, [100.0], 1.0, 0.95, design_effects=(0.0,))
