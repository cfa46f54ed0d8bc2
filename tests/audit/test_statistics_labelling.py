"""Agreement and errors of labellers: worked examples, known truths, edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from audit.statistics.labelling import cohen_kappa, confusion, corrected_shares, label_agreement, label_overlap


def _rng() -> np.random.Generator:
    return np.random.default_rng(3)


def _labels(counts: list[list[int]]) -> tuple[list[str], list[str]]:
    """Two labellings whose confusion has these counts."""
    pairs = [(str(i), str(j)) for i, row in enumerate(counts) for j, n in enumerate(row) for _ in range(n)]
    return [one for one, _ in pairs], [other for _, other in pairs]


def test_the_confusion_counts_truth_in_rows_and_labels_in_columns() -> None:
    table = confusion(["a", "a", "b"], ["a", "b", "b"], ["b", "a", "c"])
    assert table.loc["a", "b"] == 1
    assert table.to_numpy().tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_labels_that_are_no_category_or_of_other_items_are_refused() -> None:
    with pytest.raises(ValueError, match="no category: x"):
        confusion(["x"], ["a"], ["a"])
    with pytest.raises(ValueError, match="same items"):
        confusion(["a"], [], ["a"])


def test_kappa_of_a_worked_example() -> None:
    """20, 5, 10, 15: agreement 0.7, by chance 0.5, kappa 0.4; asymptotic error 0.1272 (Fleiss et al. 1969, by hand)."""
    found = cohen_kappa(*_labels([[20, 5], [10, 15]]), 0.95)
    assert found.estimate == pytest.approx(0.4)
    assert found.n == 50
    middle = math.atanh(0.4)
    reach = (math.atanh(found.interval[1]) - math.atanh(found.interval[0])) / 2.0
    assert math.atanh(found.interval[0]) + reach == pytest.approx(middle)
    assert reach == pytest.approx(2.0096 * 0.1272 / (1.0 - 0.16), rel=2e-3)


@pytest.mark.parametrize("counts", [[[20, 5], [10, 14]], [[60, 0], [0, 40]], [[90, 3], [2, 1]]])
def test_few_items_a_rare_label_or_perfect_agreement_give_no_interval(counts: list[list[int]]) -> None:
    found = cohen_kappa(*_labels(counts), 0.95)
    assert math.isfinite(found.estimate)
    assert math.isnan(found.interval[0])


def test_one_label_for_everything_has_no_kappa() -> None:
    assert math.isnan(cohen_kappa(["a"] * 60, ["a"] * 60, 0.95).estimate)


def test_agreement_category_by_category() -> None:
    first = [[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]
    second = [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]
    table = label_agreement(first, second, ["x", "y", "z"]).set_index("category")
    assert table.loc["x", ["first", "second", "both"]].tolist() == [2, 1, 1]
    assert table["agreement"].tolist() == [0.75, 1.0, 1.0]
    assert table["pabak"].tolist() == [0.5, 1.0, 1.0]
    assert table["kappa"].tolist() == pytest.approx([0.5, 1.0, math.nan], nan_ok=True)
    assert table["jaccard"].tolist() == pytest.approx([0.5, 1.0, math.nan], nan_ok=True)


def test_precision_recall_and_overlap_count_labels_not_items() -> None:
    truth = np.tile([[1, 1, 0], [0, 1, 0]], (10, 1))
    said = np.tile([[1, 0, 0], [0, 1, 1]], (10, 1))
    found = label_overlap(truth, said, 0.95, _rng(), 300)
    assert {name: one.estimate for name, one in found.items()} == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "jaccard": 2 / 4}
    )
    assert all(one.interval[0] < one.estimate < one.interval[1] for one in found.values())
    few = label_overlap(truth[:8], said[:8], 0.95, _rng(), 300)
    assert math.isnan(few["precision"].interval[0])


def test_labels_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        label_agreement([[1, 0]], [[1]], ["a", "b"])
    with pytest.raises(ValueError, match="a column for each"):
        label_agreement([[1, 0]], [[1, 0]], ["a"])


def test_two_categories_are_corrected_as_rogan_and_gladen_do() -> None:
    """Sensitivity 0.9, specificity 0.8, 38% said to be positive: (0.38 + 0.8 - 1) / 0.7."""
    found = corrected_shares([380, 620], [[90, 10], [20, 80]], 0.95, _rng(), 2000)
    assert found[0].estimate == pytest.approx(0.18 / 0.7)
    assert found[0].interval[0] < 0.18 / 0.7 < found[0].interval[1]
    assert found[0].n == 1000


def test_shares_known_exactly_are_found_again() -> None:
    rates, true = np.array([[80, 15, 5], [10, 85, 5], [10, 20, 70]]), np.array([0.5, 0.3, 0.2])
    said = true @ (rates / 100.0) * 2000
    found = corrected_shares(said, rates, 0.95, _rng(), 500)
    assert [one.estimate for one in found] == pytest.approx(true.tolist())


def test_an_inversion_below_nothing_becomes_the_most_likely_shares() -> None:
    found = corrected_shares([100, 900], [[80, 20], [20, 80]], 0.95, _rng(), 500)
    assert found[0].estimate == pytest.approx(0.0, abs=1e-6)
    assert sum(one.estimate for one in found) == pytest.approx(1.0)
    assert 0.0 <= found[0].interval[0] <= found[0].interval[1] < 0.2


def test_fewer_examples_of_the_truth_widen_the_interval() -> None:
    few, many = (corrected_shares([400, 600], np.array([[9, 1], [2, 8]]) * n, 0.95, _rng(), 2000)[0] for n in (2, 50))
    assert np.ptp(few.interval) > 2.0 * np.ptp(many.interval)


def test_labels_alike_inside_clusters_widen_the_interval() -> None:
    errors = [[900, 100], [100, 900]]
    clusters = np.repeat([[10, 0], [0, 10]], [40, 60], axis=0)
    whole, single = (corrected_shares(said, errors, 0.95, _rng(), 2000)[0] for said in (clusters, clusters.sum(axis=0)))
    assert whole.estimate == pytest.approx(single.estimate)
    assert (whole.n, single.n) == (100, 1000)
    assert np.ptp(whole.interval) > 2.0 * np.ptp(single.interval)


@pytest.mark.parametrize("errors", [[[5, 5], [3, 3]], [[5, 1], [0, 0]]])
def test_errors_that_cannot_be_undone_give_no_number(errors: list[list[int]]) -> None:
    found = corrected_shares([4, 6], errors, 0.95, _rng(), 100)
    assert all(math.isnan(value) for one in found for value in (one.estimate, *one.interval))


def test_a_confusion_of_other_categories_is_refused() -> None:
    with pytest.raises(ValueError, match="square confusion"):
        corrected_shares([4, 6, 1], [[5, 1], [1, 5]], 0.95, _rng(), 100)


def test_a_labeller_that_knows_one_label_gets_no_false_certainty():
    kappa = cohen_kappa(["a"] * 60, ["a"] * 40 + ["b"] * 20, 0.95)
    assert kappa.estimate == pytest.approx(0.0)
    assert np.isnan(kappa.interval).all()
