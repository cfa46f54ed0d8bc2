"""Measures of concentration: hand-worked values, the permutation null, rarefaction."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from audit.statistics.concentration import (
    MEASURES,
    concentration_intervals,
    concentration_null,
    effective_number,
    entropy,
    gini,
    rarefied,
    tail,
    top_share,
)


def _rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_hand_worked_values() -> None:
    assert top_share([5, 1, 3, 1], 2) == pytest.approx(0.8)
    assert gini([1, 1, 3, 5]) == pytest.approx(0.35)
    assert gini([0, 0, 0, 7]) == pytest.approx(0.75)
    assert entropy([2, 1, 1, 0]) == pytest.approx(1.5)
    assert effective_number([2, 1, 1, 0]) == pytest.approx(2.0**1.5)


def test_equal_counts_are_the_least_concentrated() -> None:
    assert gini([3, 3, 3]) == pytest.approx(0.0)
    assert effective_number([3, 3, 3]) == pytest.approx(3.0)
    assert top_share([3, 3, 3], 1) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("counts", "top"), [([], 1), ([0, 0], 1), ([1, -1], 1), ([1, 2], 3), ([1, 2], 0)])
def test_counts_that_make_no_sense_are_refused(counts: list[int], top: int) -> None:
    with pytest.raises(ValueError, match="must"):
        top_share(counts, top)


def test_intervals_are_of_the_summed_counts_and_lie_within_what_is_possible() -> None:
    table = _rng().multinomial(5, [0.5, 0.3, 0.15, 0.05], size=150)
    found = concentration_intervals(table, top=1, level=0.95)
    assert tuple(found) == MEASURES
    assert found["top_share"].estimate == top_share(table.sum(axis=0), 1)
    for one in found.values():
        assert one.interval[0] < one.estimate < one.interval[1]
        assert one.n == 150
    assert found["effective_number"].interval[1] <= 4.0


def test_architectures_alike_inside_widen_the_intervals() -> None:
    rng = _rng()
    alike = 5 * rng.multinomial(1, [0.5, 0.3, 0.2], size=200)
    mixed = rng.multinomial(5, [0.5, 0.3, 0.2], size=200)
    widths = [
        np.ptp(concentration_intervals(table, top=1, level=0.95)["top_share"].interval) for table in (alike, mixed)
    ]
    assert widths[0] > 1.8 * widths[1]


def test_few_or_identical_architectures_give_no_interval() -> None:
    few = concentration_intervals(_rng().multinomial(5, [0.5, 0.5], size=99), top=1, level=0.95)
    same = concentration_intervals(np.tile([2, 1], (150, 1)), top=1, level=0.95)
    assert all(math.isnan(one.interval[0]) for one in (*few.values(), *same.values()))


def test_a_small_group_of_the_same_population_looks_more_concentrated_and_the_null_knows() -> None:
    rng = _rng()
    shares = np.exp(-np.arange(30) / 6.0)
    shares /= shares.sum()
    small, large = rng.multinomial(60, shares), rng.multinomial(6000, shares)
    table = concentration_null(small, large, top=4, level=0.95, rng=rng, draws=800).set_index("measure")
    assert table.loc["entropy", "difference"] < 0.0
    assert table.loc["entropy", "high"] < 0.0
    assert (table["p_value"] > 0.05).all()


@pytest.mark.parametrize("clusters", [False, True])
def test_a_more_concentrated_group_is_found(clusters: bool) -> None:
    rng = _rng()
    first, second = rng.multinomial(5, [0.7, 0.1, 0.1, 0.1], 60), rng.multinomial(5, [0.25] * 4, 200)
    groups = (first, second) if clusters else (first.sum(axis=0), second.sum(axis=0))
    table = concentration_null(*groups, top=1, level=0.95, rng=rng, draws=400).set_index("measure")
    assert table.loc["top_share", "difference"] > table.loc["top_share", "high"]
    assert table["p_value"].max() == pytest.approx(2 / 401)


def test_units_alike_inside_architectures_are_no_evidence_of_a_difference() -> None:
    """Dealt as single units the same counts seem to differ, dealt as architectures they do not."""
    first = np.repeat(30 * np.eye(4), [2, 1, 1, 1], axis=0)
    second = np.repeat(30 * np.eye(4), [2, 2, 2, 2], axis=0)
    kwargs = {"top": 1, "level": 0.95, "draws": 400}
    units = concentration_null(first.sum(axis=0), second.sum(axis=0), rng=_rng(), **kwargs)  # type: ignore[arg-type]
    whole = concentration_null(first, second, rng=_rng(), **kwargs)  # type: ignore[arg-type]
    assert units["p_value"][0] < 0.01
    assert whole["p_value"][0] > 0.2


def test_the_tail_is_all_but_the_largest_and_ties_go_to_the_earlier() -> None:
    assert tail([5, 2, 9, 2], 3).tolist() == [False, False, False, True]


def test_rarefaction_agrees_with_drawing() -> None:
    counts, rare = np.array([40, 25, 5, 3, 2, 1]), np.array([False, False, True, True, True, True])
    drawn = _rng().multivariate_hypergeometric(counts, 20, size=40_000)
    row = rarefied(counts, [20], rare).iloc[0]
    seen, seen_rare, share = (drawn > 0).sum(axis=1), (drawn[:, rare] > 0).sum(axis=1), drawn[:, rare].sum(axis=1) / 20
    for name, values in (("categories", seen), ("rare_categories", seen_rare), ("rare_share", share)):
        assert row[name] == pytest.approx(values.mean(), abs=0.02)
        assert row[f"{name}_sd"] == pytest.approx(values.std(), rel=0.03)


def test_a_single_unit_shows_one_category_and_all_units_show_all() -> None:
    counts = [4, 3, 2, 1]
    table = rarefied(counts, [1, 10], tail(counts, 2))
    assert table["categories"].tolist() == pytest.approx([1.0, 4.0])
    assert table["categories_sd"].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert table["rare_share"].tolist() == pytest.approx([0.3, 0.3])
    assert table["rare_share_sd"].iloc[0] == pytest.approx(stats.bernoulli(0.3).std())


@pytest.mark.parametrize(("counts", "sizes"), [([4, 3], [8]), ([4, 3], [0]), ([4.5, 3], [2])])
def test_more_units_than_there_are_cannot_be_drawn(counts: list[float], sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="must"):
        rarefied(counts, sizes, [False, True])
