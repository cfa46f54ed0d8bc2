"""Enrichment of components: a textbook table, edges, correction."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from audit.statistics.enrichment import enrichment
from audit.statistics.multiplicity import benjamini_hochberg


def test_fisher_s_tea_taster() -> None:
    """3 of 4 against 1 of 4: p 0.4857 and a conditional odds ratio of 6.408, as R's fisher.test has it."""
    row = enrichment({"milk first": 3}, 4, {"milk first": 1}, 4, 0.95).iloc[0]
    assert row["p_value"] == pytest.approx(0.4857, abs=1e-4)
    assert row["odds_ratio"] == pytest.approx(6.408, abs=1e-3)
    assert stats.nchypergeom_fisher.sf(2, 8, 4, 4, row["low"]) == pytest.approx(0.025)
    assert stats.nchypergeom_fisher.cdf(3, 8, 4, 4, row["high"]) == pytest.approx(0.025)


def test_components_are_corrected_together_in_the_order_given() -> None:
    table = enrichment({"b": 9, "a": 2, "c": 0}, 10, {"a": 20, "b": 20, "c": 0}, 100, 0.95)
    assert table["component"].tolist() == ["b", "a", "c"]
    assert table["q_value"].tolist() == pytest.approx(benjamini_hochberg(table["p_value"]).tolist())
    assert table["q_value"][0] < 0.001


def test_a_component_all_or_none_have_tells_nothing() -> None:
    table = enrichment({"all": 5, "none": 0}, 5, {"all": 9, "none": 0}, 9, 0.95)
    assert table["p_value"].tolist() == [1.0, 1.0]
    assert all(math.isnan(value) for value in table[["odds_ratio", "low", "high"]].to_numpy().ravel())


def test_a_component_one_group_lacks_has_an_open_interval() -> None:
    row = enrichment({"one": 0}, 20, {"one": 30}, 60, 0.95).iloc[0]
    assert (row["odds_ratio"], row["low"]) == (0.0, 0.0)
    assert 0.0 < row["high"] < 1.0


def test_groups_naming_other_components_are_refused() -> None:
    with pytest.raises(ValueError, match="same components"):
        enrichment({"a": 1}, 2, {"b": 1}, 2, 0.95)


def test_more_than_all_cannot_have_a_component() -> None:
    with pytest.raises(ValueError, match="a: so many of a group"):
        enrichment({"a": 3}, 2, {"a": 1}, 2, 0.95)
