"""Checks of claims on shares: sizes, benchmark items, components and origins."""

from __future__ import annotations

import numpy as np
import pytest

from audit.sheets import Sheet
from audit.statistics.shares import share_difference, smallest_significant, wilson
from tests.audit.claim_tables import ask, search_tree, sheet

BANDS = {"band": "small", "larger": "large", "edges": [0, 200, 400]}


@pytest.mark.parametrize(
    ("small", "large", "spread", "stays"),
    [
        (["0.9", "0.7", "0.6"], ["0.1", "0.3", "0.4"], "supported", "inconclusive"),
        (["0.90", "0.90", "0.89"], ["0.10", "0.10", "0.11"], "inconclusive", "supported"),
        (["0.3", "0.3", "0.3"], ["0.3", "0.3", "0.3"], "contradicted", "contradicted"),
        (["0.55", "0.52", "0.51"], ["0.4", "0.4", "0.4"], "inconclusive", "inconclusive"),
    ],
)
def test_bands_of_sizes_decide_both_claims_on_them(small, large, spread, stays):
    table, tree = sheet("figure8", small=small, large=large), search_tree(600, 20, 5, 1)
    assert ask("spread_upward", BANDS, table, tree).verdict == spread
    assert ask("stays_in_band", BANDS, table, tree, sesoi=0.1).verdict == stays


def test_bands_that_do_not_fit_the_bins_are_not_testable():
    table, tree = sheet("figure8", small=["0.9", "x", "0.6"], large=["0.1", "0.3", "0.4"]), search_tree(600, 20, 5, 1)
    assert ask("spread_upward", BANDS, table, tree).verdict == "not_testable"


ITEMS = {"table": "table2", "name": "name", "score": "score", "tasks": 7, "items": 500, "others": [499]}


def test_means_of_the_stated_items_are_possible_and_others_are_not():
    right = np.random.default_rng(0).integers(1000, 2000, 60)
    means = [f"{100 * count / 3500:.2f}" for count in right]
    table = sheet("table2", name=[f"net {i}" for i in range(60)], score=means)
    outcome = ask("item_granularity", ITEMS, table)
    assert outcome.verdict == "supported"
    assert outcome.details["possible"]["499"] < 60
    table.cells.loc[11, "score"] = f"{float(means[10]) + 0.012:.2f}"
    outcome = ask("item_granularity", ITEMS, table)
    assert outcome.verdict == "contradicted"
    assert [(one.row, one.kind) for one in outcome.inconsistencies] == [(11, "percentage")]


def test_few_means_that_fit_by_chance_support_nothing():
    table = sheet("table2", name=["a"], score=["40.00"])
    assert ask("item_granularity", ITEMS, table).verdict == "inconclusive"


def percentages(counts: np.ndarray) -> list[str]:
    return [f"{100 * count / counts.sum():.3f}" for count in counts]


def figure7(seed: int = 0, gallery: int = 557, rest: int = 4400, tail: float = 1.0) -> Sheet:
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, 31)
    lighter = np.where(np.arange(30) < 10, weights, tail * weights)
    counts = [np.sort(rng.multinomial(n, w / w.sum()))[::-1] for n, w in ((gallery, lighter), (rest, weights))]
    names = ["Gating System", "Convolution", *(f"kind {i}" for i in range(28))]
    return sheet("figure7", category=names, gallery_pct=percentages(counts[0]), remains_pct=percentages(counts[1]))


GROUPS = ["gallery_pct", "remains_pct"]


@pytest.mark.parametrize(("stated", "verdict"), [(5000, "supported"), (3000, "contradicted"), (9000, "inconclusive")])
def test_the_units_behind_percentages_are_found(stated, verdict):
    parameters = {"columns": GROUPS, "most": 12000, "stated": stated, "enough": 0.9}
    outcome = ask("instance_total", parameters, figure7(), sesoi=0.1)
    assert outcome.verdict == verdict
    assert outcome.estimate == 557 + 4400


def test_percentages_of_one_whole_are_supported_and_an_odd_cell_is_named():
    parameters = {"columns": GROUPS, "sizes": [10, 30], "most": 12000, "enough": 0.9}
    tree, table = search_tree(40, 10, 3, 0), figure7()
    assert ask("group_percentages", parameters, table, tree).verdict == "supported"
    table.cells.loc[4, "gallery_pct"] = f"{float(table.cells.loc[4, 'gallery_pct']) + 0.007:.3f}"
    outcome = ask("group_percentages", parameters, table, tree)
    assert outcome.verdict == "inconclusive"
    assert [(one.row, one.column) for one in outcome.inconsistencies] == [(4, "gallery_pct")]
    table.cells["gallery_pct"] = [f"{3.3 + 0.001 * place * place:.3f}" for place in range(30)]
    assert ask("group_percentages", parameters, table, tree).verdict == "contradicted"


@pytest.mark.parametrize(("stated", "verdict"), [(30, "supported"), (31, "inconclusive"), (29, "contradicted")])
def test_fewer_categories_than_stated_settle_nothing_and_more_do(stated, verdict):
    assert ask("category_count", {"stated": stated}, figure7()).verdict == verdict


def test_favourites_must_lead_both_groups():
    parameters = {"categories": ["Gating System", "Convolution"], "columns": GROUPS, "top": 3}
    assert ask("favourites", parameters, figure7()).verdict == "supported"
    assert (
        ask("favourites", {**parameters, "categories": ["Gating System", "kind 20"]}, figure7()).verdict
        == "contradicted"
    )


@pytest.mark.parametrize(
    ("tail", "sizes", "verdict"),
    [
        (0.2, [557, 4400], "supported"),
        (0.2, [20, 100], "inconclusive"),
        (1.0, [557, 4400], "inconclusive"),
        (6.0, [557, 4400], "contradicted"),
    ],
)
def test_a_tail_is_lighter_only_if_every_reading_says_so(tail, sizes, verdict):
    parameters = {"gallery": "gallery_pct", "rest": "remains_pct", "heads": [10, 12], "sizes": sizes, "most": 12000}
    assert ask("long_tail", parameters, figure7(tail=tail)).verdict == verdict


def table3(gallery: list[str], others: list[str], both: list[str], sizes: tuple[int, int] = (100, 900)) -> Sheet:
    rows = list(zip(gallery, others, both, strict=True))
    return sheet(
        "table3",
        group=["Gallery", "Others", "All"],
        n=[str(sizes[0]), str(sizes[1]), str(sum(sizes))],
        experience=list(rows[0]),
        cognition=list(rows[1]),
        originality=list(rows[2]),
    )


ORIGINS = ["experience", "cognition", "originality"]
TOTAL = {"group": "group", "parts": ["Gallery", "Others"], "whole": "All", "shares": ORIGINS, "size": "n"}
FIGURE7 = {"unit_columns": GROUPS, "most": 12000}


@pytest.mark.parametrize(("both", "verdict"), [("38.0", "supported"), ("41.0", "contradicted")])
def test_a_total_row_is_a_weighted_mean_of_its_groups(both, verdict):
    rest = f"{62.0 + 38.0 - 10.0 - float(both):.1f}"
    table = table3(["47.0", "43.0", "10.0"], ["37.0", "53.0", "10.0"], [both, rest, "10.0"])
    assert ask("weighted_row", {**TOTAL, **FIGURE7}, table, figure7()).verdict == verdict


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (["40.0", "50.0", "10.0"], "not_testable"),
        (["40.0", "51.0", "10.0"], "contradicted"),
        (["41.0", "49.0", "10.0"], "contradicted"),
    ],
)
def test_stated_shares_can_be_wrong_but_not_confirmed(row, verdict):
    stated = {"experience": "40.0", "cognition": row[1], "originality": "10.0"}
    table = table3(row, ["37.0", "53.0", "10.0"], ["38.0", "52.0", "10.0"])
    parameters = {"group": "group", "row": "Gallery", "stated": stated, "unit_column": "gallery_pct", "most": 2000}
    assert ask("stated_shares", parameters, table, figure7()).verdict == verdict


@pytest.mark.parametrize(
    ("all_row", "verdict"),
    [
        (["30.0", "60.0", "10.0"], "supported"),
        (["52.0", "38.0", "10.0"], "contradicted"),
        (["45.0", "45.5", "9.5"], "inconclusive"),
    ],
)
def test_the_largest_share_must_lead_beyond_its_error(all_row, verdict):
    parameters = {"group": "group", "row": "All", "shares": ORIGINS, "leading": "cognition", "size": "n", **FIGURE7}
    table = table3(all_row, all_row, all_row)
    assert ask("leading_origin", parameters, table, figure7()).verdict == verdict


@pytest.mark.parametrize(
    ("gallery", "sizes", "verdict"),
    [
        ("60.0", (500, 4000), "not_testable"),
        ("45.0", (50, 900), "inconclusive"),
        ("20.0", (500, 4000), "contradicted"),
    ],
)
def test_a_rise_never_proves_its_cause(gallery, sizes, verdict):
    rest = f"{90.0 - float(gallery):.1f}"
    table = table3([gallery, rest, "10.0"], ["38.0", "52.0", "10.0"], ["39.0", "51.0", "10.0"], sizes)
    parameters = {
        "group": "group",
        "higher": "Gallery",
        "lower": "Others",
        "share": "experience",
        "size": "n",
        **FIGURE7,
    }
    assert ask("share_rise", parameters, table, figure7()).verdict == verdict


def test_the_smallest_significant_number_is_where_the_test_turns():
    needed = smallest_significant(0.45, 0.38, 15.0, 0.95)
    assert needed is not None
    at, below = (share_difference(0.45, n, 0.38, 15.0 * n, 0.95).p_value for n in (needed, needed - 2))
    assert at < 0.0505
    assert below > 0.0495
    assert smallest_significant(0.4, 0.4, 1.0, 0.95) is None


def test_differences_of_shares_are_symmetric_and_empty_groups_have_no_limits():
    first, second = share_difference(0.4, 50, 0.3, 80, 0.95), share_difference(0.3, 80, 0.4, 50, 0.95)
    assert first.interval == pytest.approx((-second.interval[1], -second.interval[0]))
    assert first.p_value == pytest.approx(second.p_value)
    assert np.isnan(share_difference(0.4, 0, 0.3, 80, 0.95).interval[0])
    assert share_difference(0.4, 50, 0.4, 80, 0.95).p_value == 1.0
    low, high = wilson(0.0, 20, 0.95).interval
    assert low == pytest.approx(0.0, abs=1e-12)
    assert 0.1 < high < 0.2
