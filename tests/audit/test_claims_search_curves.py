"""Checks of claims on curves: discoveries against compute, and the terms of the fitness."""

from __future__ import annotations

import numpy as np
import pytest

from audit.claims.curve import axis_map
from audit.claims.outcome import Outcome
from audit.sheets import Sheet
from audit.statistics.events import constant_rate
from tests.audit.claim_tables import ask, sheet


def gallery_of(identifiers: list[int]) -> Sheet:
    return sheet("gallery", index=identifiers, name_new=[f"net {place}" for place in identifiers])


def test_an_axis_made_from_node_numbers_is_found_with_its_slope():
    identifiers = np.sort(np.random.default_rng(0).choice(np.arange(1, 1000), 60, replace=False)).astype(float)
    times = np.arange(0.0, 3001.0, 150.0)
    counts = np.searchsorted(3.0 * identifiers - 40.0, times, side="right").astype(float)
    found = axis_map(times, counts, identifiers)
    assert found.margin > 0.0
    assert found.reproduced == 1.0
    assert found.slopes[0] <= 3.0 <= found.slopes[1]


def test_counts_that_no_line_gives_have_a_negative_margin():
    identifiers, times = np.arange(1.0, 11.0), np.arange(0.0, 6.0)
    found = axis_map(times, np.array([0.0, 0.0, 9.0, 9.0, 9.0, 10.0]), identifiers)
    assert found.margin < 0.0
    assert found.reproduced < 1.0


AXIS = {"time": "h", "events": "c", "identifier": "index", "variation": [0.5], "draws": 20}


def test_a_derived_axis_is_never_a_verdict_on_the_law():
    identifiers = list(range(10, 400, 13))
    times = np.arange(0, 801, 100)
    counts = np.searchsorted(2.0 * np.array(identifiers), times, side="right")
    curve = sheet("figure1", h=[str(time) for time in times], c=[str(count) for count in counts])
    outcome = ask("derived_axis", AXIS, curve, gallery_of(identifiers))
    assert outcome.verdict == "inconclusive"
    assert outcome.details["reproduced"] == 1.0


@pytest.mark.parametrize("events", [["0", "1"], ["0", "2", "1"], ["0", "1", "9"], ["0", "0", "0"], ["0", "1.5", "2"]])
def test_a_curve_that_is_none_is_not_testable(events):
    curve = sheet("figure1", h=[str(place) for place in range(len(events))], c=events)
    assert ask("derived_axis", AXIS, curve, gallery_of([1, 2, 3])).verdict == "not_testable"


ENDS = {"time": "h", "events": "c", "points": 3, "first": [0, 0], "last": [20, 2]}


def test_the_ends_of_a_curve_are_compared_with_the_stated_ones():
    gallery = gallery_of([1, 2])
    assert (
        ask("series_ends", ENDS, sheet("figure1", h=["0", "10", "20"], c=["0", "1", "2"]), gallery).verdict
        == "supported"
    )
    wrong = sheet("figure1", h=["0", "10", "20"], c=["0", "1", "3"])
    assert ask("series_ends", ENDS, wrong, gallery).verdict == "contradicted"


def curve_of(counts: np.ndarray) -> Sheet:
    total = np.concatenate([[0], np.cumsum(counts)])
    return sheet("figure1", h=[str(10 * i) for i in range(len(total))], c=[str(value) for value in total])


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [(np.full(40, 10), "supported"), (np.repeat([2, 20], 20), "contradicted"), (np.full(6, 1), "inconclusive")],
)
def test_a_constant_rate_is_told_from_a_changing_one(counts, verdict):
    parameters = {"time": "h", "events": "c", "draws": 2000}
    assert ask("linear_curve", parameters, curve_of(counts), sesoi=1.5).verdict == verdict


def test_a_random_number_seed_decides_the_simulation_and_nothing_else():
    counts = np.random.default_rng(3).poisson(3.0, 30)
    first, again, other = (constant_rate(counts, 0.95, np.random.default_rng(seed), 400) for seed in (1, 1, 2))
    assert first == again
    assert first.distance == other.distance
    assert first.r_squared_range != other.r_squared_range


def test_r_squared_is_that_of_the_least_squares_line():
    counts = np.array([3, 0, 5, 2, 9, 1])
    curve = np.concatenate([[0], np.cumsum(counts)])
    expected = np.corrcoef(np.arange(7), curve)[0, 1] ** 2
    assert constant_rate(counts, 0.95, np.random.default_rng(0), 10).r_squared == pytest.approx(expected)


@pytest.mark.parametrize("counts", [[1], [0, 0], [1, -1, 2], [0.5, 1]])
def test_counts_that_are_none_are_refused(counts):
    with pytest.raises(ValueError, match="counts|events"):
        constant_rate(counts, 0.95, np.random.default_rng(0), 10)


def test_end_values_are_compared_within_the_rounding_of_both():
    table = sheet("figure6", n=["1", "2"], a=["0.1", "0.9438"])
    parameters = {"order": "n", "stated": {"a": "0.944"}}
    assert ask("end_values", parameters, table).verdict == "supported"
    assert ask("end_values", {"order": "n", "stated": {"a": "0.945"}}, table).verdict == "contradicted"


def shapes(fast: list[float], steady: list[float]) -> Outcome:
    order = [str(place) for place in range(len(fast))]
    table = sheet("figure6", n=order, fast=list(map(str, fast)), steady=list(map(str, steady)))
    names = {"order": "n", "fast": ["fast"], "steady": ["steady"]}
    return ask("curve_shapes", {**names, "fast_from": 0.5, "flat_to": 0.16667, "steady_from": 0.16667}, table)


def test_shapes_are_told_by_their_thirds():
    fast, steady, late = [0, 8, 9.5, 10], [0, 3, 7, 10], [0, 1, 2, 10]
    assert shapes(fast, steady).verdict == "supported"
    assert shapes(steady, fast).verdict == "contradicted"
    assert shapes(late, steady).verdict == "contradicted"
    assert shapes([0, 4, 8, 10], steady).verdict == "inconclusive"


def test_the_leading_term_is_told_for_every_reading_of_early():
    a, b = [0, 6, 8, 9], [0, 3, 7, 9]
    table = sheet("figure6", n=list("0123"), a=a, b=b, total=[(x + y) / 2 for x, y in zip(a, b, strict=True)])
    parameters = {"order": "n", "total": "total", "terms": ["a", "b"], "early": [0.33333, 0.66667]}
    assert ask("early_share", {**parameters, "leading": "a"}, table).verdict == "supported"
    assert ask("early_share", {**parameters, "leading": "b"}, table).verdict == "contradicted"
    everything = {**parameters, "early": [0.33333, 1.0]}
    assert ask("early_share", {**everything, "leading": "a"}, table).verdict == "inconclusive"


@pytest.mark.parametrize(("last", "verdict"), [(3.0, "supported"), (0.8, "inconclusive"), (0.1, "contradicted")])
def test_a_curve_that_stalls_does_not_keep_improving(last, verdict):
    other = min(last, 1.0) / 2.0  # half as fast
    table = sheet("figure6", n=list("0123"), loss=[10.0, 8.0, 6.0, 6.0 - last], score=[0.0, 1.0, 2.0, 2.0 + other])
    parameters = {"order": "n", "curves": ["loss", "score"], "stalled_to": 0.05, "steady_from": 0.16667}
    assert ask("keeps_improving", parameters, table).verdict == verdict
    one_goes_on = sheet("figure6", n=list("0123"), loss=[10.0, 8.0, 6.0, 5.9], score=[0.0, 1.0, 2.0, 3.0])
    assert ask("keeps_improving", parameters, one_goes_on).verdict == "inconclusive"
