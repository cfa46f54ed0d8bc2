"""Single consistency checks: what rounding explains is not reported, and what it does not is."""

from __future__ import annotations

import math
import random
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.consistency.arithmetic import (
    ColumnTotals,
    Differences,
    Formula,
    RowTotals,
    column_totals,
    differences,
    formula,
    row_totals,
)
from audit.consistency.checks import CONSISTENCY
from audit.consistency.granularity import (
    OnGrid,
    Percentages,
    compatible_counts,
    fits,
    on_grid,
    percentages,
    random_fit,
)
from audit.consistency.identifiers import Complete, Gaps, References, Unique, complete, gaps, references, unique
from audit.consistency.joins import Joined, joined, same_quantity
from audit.consistency.rounding import RowName
from audit.consistency.series import CumulativeSeries, best_axis, cumulative_series
from audit.consistency.values import (
    CompareColumns,
    Ordered,
    SizeClass,
    compare_columns,
    longest_run,
    ordered,
    size_class,
)
from audit.sheets import Printed, Sheet, printed
from replication.settings import InputError


def sheet(name: str = "t", /, **columns: list[object]) -> dict[str, Sheet]:
    cells = pd.DataFrame({key: pd.Series(values, dtype=object) for key, values in columns.items()})
    cells.index = pd.RangeIndex(1, len(cells) + 1)
    return {name: Sheet(name, f"{name}.csv", cells)}


def rounded(value: Fraction, decimals: int, rule: str = ROUND_HALF_EVEN) -> str:
    exact = Decimal(value.numerator * 10**30 // value.denominator).scaleb(-30)
    return str(exact.quantize(Decimal(1).scaleb(-decimals), rounding=rule))


numbers = st.floats(-1000, 1000, allow_subnormal=False)


@given(numbers, numbers, st.integers(0, 4), st.integers(0, 4))
def test_a_difference_printed_from_unrounded_numbers_is_never_reported(a: float, b: float, d: int, e: int) -> None:
    cells = sheet(a=[f"{a:.{d}f}"], b=[f"{b:.{d}f}"], diff=[f"{a - b:+.{e}f}"])
    p = Differences(sheet="t", column="a", minus="b", minus_row=None, printed="diff")
    assert differences(cells, p).inconsistencies == ()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("-0.35", "right size, wrong sign"),
        ("0.31", "off by 0.04; rounding explains 0.015"),
        ("0.33", "cutting digits off would explain it"),
    ],
)
def test_a_difference_that_no_rounding_explains_is_reported_with_how_far_it_is_off(text: str, note: str) -> None:
    p = Differences(
        sheet="t", column="a", minus="a", minus_row=RowName(column="name", value="base"), printed="difference"
    )
    found = differences(sheet(name=["base", "x"], a=["1.00", "1.35"], difference=["", text]), p)
    assert (found.compared, len(found.inconsistencies)) == (1, 1)
    assert (found.inconsistencies[0].row, found.inconsistencies[0].printed) == (2, text)
    assert note in found.inconsistencies[0].note


def test_a_last_digit_that_rounding_explains_is_no_difference() -> None:
    p = Differences(sheet="t", column="a", minus="b", minus_row=None, printed="d")
    assert differences(sheet(a=["1.35"], b=["1.00"], d=["0.34"]), p).inconsistencies == ()


def test_a_reference_row_that_is_not_there_is_named() -> None:
    p = Differences(sheet="t", column="a", minus="a", minus_row=RowName(column="name", value="base"), printed="a")
    with pytest.raises(InputError, match="0 rows have 'base'"):
        differences(sheet(name=["x"], a=["1"]), p)


def test_totals_take_a_stated_number_or_a_column_and_not_both() -> None:
    p = RowTotals(sheet="t", columns=("a",), printed=None, total=None, zeros_dropped=False)
    with pytest.raises(InputError, match="either printed or total"):
        row_totals(sheet(a=["1"]), p)
    by_column = RowTotals(sheet="t", columns=("a", "b"), printed="sum", total=None, zeros_dropped=False)
    found = row_totals(sheet(a=["1.0", "1.0"], b=["2.0", "2.0"], sum=["3.1", "3.3"]), by_column)
    assert [one.row for one in found.inconsistencies] == [2]


def test_a_column_total_allows_for_errors_of_reading_a_graphic() -> None:
    cells = sheet(a=["33.333", "33.332", "33.331"])
    p = {"sheet": "t", "columns": ("a",), "total_row": None, "total": 100.0, "zeros_dropped": False}
    assert len(column_totals(cells, ColumnTotals(**p, reading=0.0)).inconsistencies) == 1
    assert column_totals(cells, ColumnTotals(**p, reading=0.001)).inconsistencies == ()


def test_a_logistic_is_recomputed_with_the_rounding_of_its_input() -> None:
    constants = {"centre": 4.575, "width": 0.4575, "slope": 6.0}
    p = Formula(sheet="t", column="s", kind="logistic", of=("x",), constants=constants, zeros_dropped=False)
    found = formula(sheet(x=["4.575", "4.5787", "3.5"], s=["0.5", "0.4879", "0.9"]), p)
    assert [(one.row, one.recomputed[:8]) for one in found.inconsistencies] == [(3, "0.997527")]
    with pytest.raises(InputError, match="a mean takes no constants"):
        formula(sheet(x=["1"], s=["1"]), Formula(**{**vars(p), "kind": "mean"}))


@given(st.integers(1, 12_000), st.data())
def test_every_share_of_a_count_fits_it_however_it_was_rounded(n: int, data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, n), min_size=1, max_size=5))
    decimals, rule = data.draw(st.integers(0, 4)), data.draw(st.sampled_from([ROUND_HALF_EVEN, ROUND_HALF_UP]))
    values = [printed(rounded(Fraction(100 * k, n), decimals, rule)) for k in counts]
    assert n in compatible_counts([value for value in values if value], n)


def test_the_counts_that_fit_a_column_are_those_found_by_trying_all() -> None:
    values = [Printed(14.3, 0.05), Printed(57.1, 0.05)]
    tried = [
        n for n in range(1, 60) if all(any(abs(100 * k / n - v.value) <= 0.05 for k in range(n + 1)) for v in values)
    ]
    assert compatible_counts(values, 59) == tried
    assert 7 in tried
    assert 8 not in tried


def test_each_value_is_held_against_each_count() -> None:
    values = [Printed(50.0, 0.05), Printed(33.3, 0.05), Printed(100.2, 0.05)]
    assert fits(values, [2, 3, 6]).tolist() == [[True, False, False], [False, True, False], [True, True, False]]
    assert fits([Printed(33.2, 0.05)], [3], reading=1).tolist() == [[True]]


def test_a_number_that_was_not_rounded_fits_only_the_counts_that_give_it() -> None:
    assert compatible_counts([Printed(100 / 3, 0.0)], 10) == [3, 6, 9]


def test_a_number_coarser_than_the_whole_fits_only_where_the_whole_is_within_its_rounding() -> None:
    assert fits([Printed(0.0, 500.0), Printed(1000.0, 500.0)], [7]).tolist() == [[True, False]]


def test_from_some_count_on_every_share_fits_and_nothing_is_learnt() -> None:
    value = [Printed(33.33, 0.005)]
    assert random_fit(value, 10_000) == 1
    assert random_fit(value, 100) == pytest.approx(0.0101, abs=1e-4)


def test_cut_off_digits_fit_only_where_that_is_allowed() -> None:
    cells = sheet(share=["66.6", "66.7"], n=["3", "3"])
    p = {"sheet": "t", "columns": ("share",), "count": "n", "whole": 100, "zeros_dropped": False}
    strict = percentages(cells, Percentages(**p, allow_truncation=False))
    assert [(one.row, one.recomputed) for one in strict.inconsistencies] == [(1, "2/3 = 66.6667")]
    assert percentages(cells, Percentages(**p, allow_truncation=True)).inconsistencies == ()


def test_scores_set_by_a_rule_stand_out_among_measured_ones() -> None:
    scores = [*np.random.default_rng(0).uniform(0, 3, 50), 1 + 250 / 360]
    found = on_grid(sheet(score=[float(s) for s in scores]), OnGrid(sheet="t", column="score", offset=1.0, steps=360))
    assert [one.row for one in found.inconsistencies] == [51]


def test_missing_identifiers_are_named_as_runs() -> None:
    found = gaps(sheet(index=[2, 3, 7, 7]), Gaps(sheet="t", column="index", first=1, last=9))
    assert [one.recomputed for one in found.inconsistencies] == ["1", "4 to 6", "8 to 9"]


def test_a_repeated_name_says_where_it_stood_before() -> None:
    found = unique(sheet(name=["a", None, "b", "a", None]), Unique(sheet="t", columns=("name",)))
    assert [(one.row, one.note) for one in found.inconsistencies] == [(4, "stands in row 1 too")]


def test_cells_that_are_missing_or_odd_are_told_apart() -> None:
    cells = sheet(a=[1, 2.5, "3", None, math.nan, True], b=["1", "nan", "x", "2", "inf", "3"], c=[None] * 6)
    p = Complete(sheet="t", numbers=("a", "b", "c"), whole=(), texts=(), left_out=(), group=None)
    found = [(one.kind, one.row, one.column) for one in complete(cells, p).inconsistencies]
    in_a = [("type", 3, "a"), ("missing", 4, "a"), ("missing", 5, "a"), ("type", 6, "a")]
    assert found == [*in_a, ("missing", 2, "b"), ("type", 3, "b"), ("type", 5, "b"), ("missing", None, "c")]


def test_a_parent_must_be_there_and_come_before() -> None:
    p = References(sheet="t", column="parent", to="index", roots=1, earlier=True)
    found = references(sheet(index=[1, 2, 3, 4, 5], parent=[None, 1, 9, 5, None]), p)
    assert [one.row for one in found.inconsistencies] == [3, 4, 5]


@given(st.floats(0.001, 999), st.integers(0, 6), st.integers(0, 6))
def test_two_roundings_of_one_number_are_the_same_quantity(x: float, d: int, e: int) -> None:
    one, other = printed(f"{Decimal(x):.{d}f}"), printed(f"{Decimal(x):.{e}f}")
    assert one is not None
    assert other is not None
    assert same_quantity(one, other)


def test_numbers_with_equally_many_digits_have_to_be_equal() -> None:
    assert not same_quantity(Printed(3.4061, 5e-5), Printed(3.4062, 5e-5))
    assert same_quantity(Printed(3.41, 5e-3), Printed(3.4062, 5e-5))


def test_rows_are_joined_by_words_and_a_shared_name_is_reported() -> None:
    sheets = sheet("left", name=["One Net", "two", "lost"], x=["1.50", "2.00", "9.00"])
    sheets |= sheet("right", name=["one_net", "Two", "TWO", "spare"], x=["1.5", "7.00", "2.00", "1.00"])
    p = {"left": "left", "left_key": "name", "right": "right", "right_key": "name", "normalise": "words", "factor": 1.0}
    p |= {"compare": {"x": ("x",)}, "all_left": True, "all_right": True, "left_out": (), "zeros_dropped": False}
    found = [(one.kind, one.file, one.row) for one in joined(sheets, Joined(**p)).inconsistencies]
    assert found == [("missing", "left.csv", 3), ("missing", "right.csv", 4), ("duplicate", "right.csv", 3)]
    exact = joined(sheets, Joined(**{**p, "normalise": "exact"}))
    assert [one.kind for one in exact.inconsistencies] == ["missing"] * 7


@given(st.lists(st.integers(0, 6), max_size=7), st.booleans())
def test_the_longest_run_is_the_longest_there_is(values: list[int], strict: bool) -> None:
    def rises(chosen: tuple[int, ...]) -> bool:
        return all(b > a if strict else b >= a for a, b in pairwise(chosen))

    longest = max(m for m in range(len(values) + 1) if any(rises(c) for c in combinations(values, m)))
    run = longest_run(values, strict)
    assert len(run) == longest
    assert rises(tuple(values[i] for i in run))
    assert run == sorted(run)


def test_one_high_value_is_blamed_and_not_all_that_follow() -> None:
    p = Ordered(sheet="t", column="x", direction="rising", strict=False)
    assert [one.row for one in ordered(sheet(x=["1", "2", "9", "3", "4"]), p).inconsistencies] == [3]


def test_a_filter_is_broken_only_where_rounding_leaves_no_doubt() -> None:
    cells = sheet(name=["base", "a", "b", "c"], loss=["4.57", "4.57", "4.58", "4.60"])
    p = CompareColumns(
        sheet="t", left="loss", relation="<", right="loss", right_row=RowName(column="name", value="base"), left_out=()
    )
    assert [one.row for one in compare_columns(cells, p).inconsistencies] == [4]
    exact = compare_columns(sheet(name=["base", "a"], loss=[1.5, 1.5]), p)
    assert [one.row for one in exact.inconsistencies] == [2]


def test_sizes_outside_their_class_and_texts_that_are_no_size_are_reported() -> None:
    p = SizeClass(sheet="t", column="size", stated="400M", tolerance=0.5)
    found = size_class(sheet(size=["412.3M", "0.59B", "601M", "many", 3.9e8, None]), p)
    assert [(one.kind, one.row) for one in found.inconsistencies] == [("size_class", 3), ("type", 4)]


def test_a_line_behind_an_axis_is_found_and_wrong_points_do_not_move_it() -> None:
    rng = np.random.default_rng(4)
    values = np.sort(rng.choice(1700, 100, replace=False))
    x = np.arange(0, 7001, 200.0)
    count = np.searchsorted(4.1 * values - 150, x, side="right")
    axis = best_axis(x, count, values)
    assert axis is not None
    assert axis.reproduced == axis.points == 36
    assert axis.scales[0] <= 4.1 <= axis.scales[1]
    assert axis.offsets[0] <= -150 <= axis.offsets[1]
    count[20] += 3
    spoilt = best_axis(x, count, values)
    assert spoilt is not None
    assert spoilt.reproduced == 35
    assert spoilt.scale == pytest.approx(4.1, rel=0.01)


def test_no_line_is_found_where_nothing_bounds_it() -> None:
    assert best_axis([1.0, 2.0], [0, 0], []) is None
    assert best_axis([1.0], [1], [5.0]) is None


def test_a_given_axis_is_checked_point_by_point() -> None:
    sheets = sheet("figure", hours=["0", "10", "20"], finds=["0", "2", "3"]) | sheet("rows", index=[1, 2, 5])
    p = CumulativeSeries(
        sheet="figure", axis="hours", count="finds", rows="rows", column="index", scale=5.0, offset=0.0
    )
    found = cumulative_series(sheets, p).inconsistencies
    assert [(one.row, one.printed, one.recomputed) for one in found] == [(3, "3", "2")]


ODD_CELLS = [
    None,
    "",
    "nan",
    "inf",
    "-1e299",
    "1e-290",
    "1e400",
    "=1+1",
    "٣",
    True,
    [],
    {},
    1e299,
    10**400,
    -(10**18),
    "9" * 50,
]
ODD_PARAMETERS: dict[str, dict[str, object]] = {
    "differences": {"column": "a", "minus": "b", "minus_row": None, "printed": "c"},
    "row_means": {"columns": ("a", "b"), "printed": "c", "zeros_dropped": True},
    "row_totals": {"columns": ("a", "b"), "printed": None, "total": 1.0, "zeros_dropped": True},
    "column_totals": {"columns": ("a", "b"), "total_row": None, "total": 1.0, "zeros_dropped": True, "reading": 0.0},
    "grim": {"items": {"a": 500, "b": 7}, "whole": 100, "allow_truncation": True, "zeros_dropped": True},
    "percentages": {"columns": ("a", "b"), "count": "c", "whole": 1, "allow_truncation": True, "zeros_dropped": True},
    "granularity": {"column": "a", "most": 50, "whole": 100, "zeros_dropped": True, "reading": 1, "partition": True},
    "on_grid": {"column": "a", "offset": 1.0, "steps": 360},
    "unique": {"columns": ("a",)},
    "complete": {"numbers": ("a",), "whole": ("b",), "texts": ("c",), "left_out": (), "group": "b"},
    "gaps": {"column": "a", "first": 1, "last": None},
    "references": {"column": "a", "to": "b", "roots": 1, "earlier": True},
    "in_range": {"columns": ("a",), "low": 0.0, "high": 1.0},
    "ordered": {"column": "a", "direction": "falling", "strict": True},
    "compare_columns": {"left": "a", "relation": "<=", "right": "b", "right_row": None, "left_out": ()},
    "size_class": {"column": "a", "stated": "1M", "tolerance": 0.5},
    "derived_axis": {"axis": "a", "count": "b", "rows": "t", "column": "c", "least_share": 0.0},
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ODD_PARAMETERS)
@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_odd_cells_are_reported_or_passed_over_and_never_break_a_check(name: str, seed: int) -> None:
    generator = random.Random(seed)
    odd: list[object] = [*ODD_CELLS, "0.5", "12.25", 3, 7]
    cells = sheet(**{column: [generator.choice(odd) for _ in range(8)] for column in "abc"})
    check = CONSISTENCY[name]
    result = check.run(cells, check.parameters(sheet="t", **ODD_PARAMETERS[name]))
    assert result.compared >= 0
    assert all(one.file == "t.csv" for one in result.inconsistencies)
