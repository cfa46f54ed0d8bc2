"""Claims on where ideas come from (table 3): shares of three origins in the gallery, the others and all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.claims.motifs import units
from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.reading import EXACT, between, located, numbers, unreadable, verdict
from audit.consistency.granularity import compatible_counts
from audit.finding import Interval
from audit.sheets import Sheet, printed
from audit.statistics.shares import share_difference, smallest_significant, wilson
from audit.wording import count, number, p_equals, plural, signed, span

CLUSTERS = (
    "The number of labelled units is not printed. Two are tried: the units that figure 7's percentages fit, as if "
    "independent, and one an architecture, the most cautious; a verdict needs both. Errors of labels are left out."
)


@dataclass(frozen=True, kw_only=True)
class SharesParameters:
    """group, row: column of groups and the group's name. stated: column -> share as stated. most: units to try.

    unit_column: of figure 7, whose percentages tell how many units the group has there.
    """

    group: str
    row: str
    stated: dict[str, str]
    unit_column: str
    most: int


def stated_shares(evidence: ClaimEvidence, p: SharesParameters, _decision: Decision) -> Outcome:
    """Whether a row is as stated, sums to 100 and is possible for some number of units.

    The labels were not released, so a row that could be right is not testable further.
    """
    sheet = evidence.sheets["table3"]
    row = _row(sheet, p.group, p.row)
    cells = {name: sheet.printed(name).get(row) for name in p.stated}
    if row is None or any(cell is None for cell in cells.values()):
        return unreadable(sheet, f"numbers for {p.row}")
    values, halves = (np.array([getattr(cell, part) for cell in cells.values()]) for part in ("value", "half"))
    stated = [printed(text) for text in p.stated.values()]
    same = all(one is not None and abs(one.value - value) <= 1e-9 for one, value in zip(stated, values, strict=True))
    whole = abs(values.sum() - 100.0) <= halves.sum() + 1e-9
    fitting = compatible_counts([cell for cell in cells.values() if cell is not None], p.most)
    of_figure = _unit_numbers(evidence, (p.unit_column,), p.most)
    good = same and whole and bool(fitting)
    told = ", ".join(f"{name} {value:g}" for name, value in zip(p.stated, values, strict=True))
    return Outcome(
        answer=(
            f"{p.row}: {told} percent; {'as stated' if same else 'not as stated'}, sum {values.sum():g}, possible for "
            f"{plural(len(fitting), 'number')} of units up to {count(p.most)}"
            + (f", from {fitting[0]} on" if fitting else "")
            + (
                f", {'not ' * (of_figure[0] not in fitting)}for the {count(of_figure[0])} of figure 7. "
                if of_figure
                else ". "
            )
            + "It takes the labels of every component to recompute them."
        ),
        verdict="not_testable" if good else "contradicted",
        method=f"{EXACT} Granularity for the numbers of units.",
        n=len(values),
        rows=located(sheet, sheet.cells.loc[[row]]),
        details={"smallest_units": fitting[:20], "sum": float(values.sum()), "units_of_figure_7": of_figure},
    )


def _row(sheet: Sheet, group: str, name: str) -> int | None:
    rows = sheet.cells.index[sheet.column(group) == name]
    return int(rows[0]) if len(rows) == 1 else None


@dataclass(frozen=True, kw_only=True)
class TotalParameters:
    """group: column of groups. parts: the two groups. whole: of both. shares: columns. size: column of architectures.

    unit_columns: columns of figure 7 that tell the units of the parts. most: units to try.
    """

    group: str
    parts: tuple[str, ...]
    whole: str
    shares: tuple[str, ...]
    size: str
    unit_columns: tuple[str, ...]
    most: int


def weighted_row(evidence: ClaimEvidence, p: TotalParameters, _decision: Decision) -> Outcome:
    """Which weights of the two groups give the total row, within the rounding of all cells."""
    sheet = evidence.sheets["table3"]
    rows = [_row(sheet, p.group, name) for name in (*p.parts, p.whole)]
    cells = numbers(sheet, [*p.shares, p.size])
    if len(rows) != 3 or any(row is None or row not in cells.index for row in rows):
        return unreadable(sheet, f"numbers for {', '.join([*p.parts, p.whole])}")
    first, second, whole = (cells.loc[row, list(p.shares)].to_numpy(dtype=np.float64) for row in rows)
    half = max(cell.half for name in p.shares for cell in sheet.printed(name).dropna())
    weights = np.linspace(0.0, 1.0, 100_001)[:, None]
    # The mean of two rounded shares is off by at most half a unit, and so is the rounded total.
    fits = (np.abs(weights * first + (1.0 - weights) * second - whole) <= 2.0 * half + 1e-9).all(axis=1)
    inside: Interval | None = (float(weights[fits].min()), float(weights[fits].max())) if fits.any() else None
    sizes = [float(cells.loc[row, p.size]) for row in rows[:2]]
    candidates = {"architectures": sizes[0] / sum(sizes)} | _unit_weight(evidence, p)
    good = {name: inside is not None and inside[0] - 1e-5 <= w <= inside[1] + 1e-5 for name, w in candidates.items()}
    told = "; ".join(
        f"by {name} it is {number(w, 4)} ({'fits' if good[name] else 'does not fit'})" for name, w in candidates.items()
    )
    return Outcome(
        answer=(
            f"The row {p.whole} is a mean of the other two rows "
            + (
                f"for a weight of {p.parts[0]} of {number(inside[0], 4)} to {number(inside[1], 4)}; "
                if inside
                else "for no weight; "
            )
            + f"{told}. Which weight was used is not told."
        ),
        verdict=verdict(supported=any(good.values()), contradicted=not any(good.values())),
        method="Interval arithmetic within the rounding of all printed shares; weights in steps of 0.00001.",
        n=len(p.shares),
        rows=located(sheet, sheet.cells),
        details={"weights": candidates, "fitting_weights": list(inside) if inside else None},
    )


def _unit_weight(evidence: ClaimEvidence, p: TotalParameters) -> dict[str, float]:
    found = _unit_numbers(evidence, p.unit_columns, p.most)
    return {"figure 7's units": found[0] / sum(found)} if found else {}


def _unit_numbers(evidence: ClaimEvidence, columns: tuple[str, ...], most: int) -> list[int]:
    """Units of each column of figure 7; empty where it does not tell."""
    known = [units(evidence.sheets["figure7"], column, most) for column in columns]
    return [one.n for one in known if one is not None] if None not in known else []


@dataclass(frozen=True, kw_only=True)
class LeadingParameters:
    """group, row: column of groups, and the group. shares: columns. leading: the one said to be largest.

    size: column of architectures. unit_columns: columns of figure 7 whose units make up the group. most: units to try.
    """

    group: str
    row: str
    shares: tuple[str, ...]
    leading: str
    size: str
    unit_columns: tuple[str, ...]
    most: int


def leading_origin(evidence: ClaimEvidence, p: LeadingParameters, decision: Decision) -> Outcome:
    """Whether one origin's share is the largest, and more than one half."""
    sheet = evidence.sheets["table3"]
    row = _row(sheet, p.group, p.row)
    cells = numbers(sheet, [*p.shares, p.size])
    if row is None or row not in cells.index or p.leading not in p.shares:
        return unreadable(sheet, f"numbers for {p.row}")
    shares = cells.loc[row, list(p.shares)] / 100.0
    next_best = float(shares.drop(p.leading).max())
    unit_numbers = _unit_numbers(evidence, p.unit_columns, p.most)
    sizes = ([sum(unit_numbers)] if unit_numbers else []) + [int(cells.loc[row, p.size])]
    lead = float(shares[p.leading]) - next_best
    # Two shares of one whole are equal if each holds half of the units that either has.
    both = float(shares[p.leading]) + next_best
    contested = [round(n * both) for n in sizes]
    halves = [wilson(float(shares[p.leading]) / both, n, decision.level).interval for n in contested]
    majority = [wilson(float(shares[p.leading]), n, decision.level).interval for n in sizes]
    told = "; ".join(
        f"n = {count(n)}: {between((100 * low, 100 * high), 1)}%"
        for n, (low, high) in zip(sizes, majority, strict=True)
    )
    return Outcome(
        answer=(
            f"In the row {p.row}, {p.leading} has {100 * shares[p.leading]:.1f}% and the next origin "
            f"{100 * next_best:.1f}%: a lead of {100 * lead:.1f} points. For 'more than half' the interval is {told}. "
            "Shares say what labels were given, not where ideas came from."
        ),
        verdict=verdict(
            supported=all(low > 0.5 for low, _ in [*halves, *majority]),
            contradicted=all(high < 0.5 for _, high in halves),  # "most" may mean the largest share
        ),
        method=f"Largest share: its part of the two largest, against one half. Intervals: Wilson. {CLUSTERS}",
        estimate=float(shares[p.leading]),
        unit="share of units",
        interval=majority[-1],
        n=sizes[-1],
        rows=located(sheet, sheet.cells.loc[[row]]),
        calibrated=tuple(("wilson", n) for n in (*sizes, *contested)),
        details={
            "lead": lead,
            "of_the_two_largest": [list(one) for one in halves],
            "n_tried": sizes,
            "majority": [list(one) for one in majority],
        },
    )


@dataclass(frozen=True, kw_only=True)
class RiseParameters:
    """group: column of groups. higher, lower: the two groups. share: column. size: column of architectures.

    unit_columns: columns of figure 7 for the two groups. most: units to try.
    """

    group: str
    higher: str
    lower: str
    share: str
    size: str
    unit_columns: tuple[str, ...]
    most: int


def share_rise(evidence: ClaimEvidence, p: RiseParameters, decision: Decision) -> Outcome:
    """Whether a share is higher in one group; what caused it, no table of shares can say."""
    sheet = evidence.sheets["table3"]
    rows = [_row(sheet, p.group, name) for name in (p.higher, p.lower)]
    cells = numbers(sheet, [p.share, p.size])
    if any(row is None or row not in cells.index for row in rows):
        return unreadable(sheet, f"numbers for {p.higher} and {p.lower}")
    (a, n_a), (b, n_b) = ((cells.loc[row, p.share] / 100.0, cells.loc[row, p.size]) for row in rows)
    unit_numbers = _unit_numbers(evidence, p.unit_columns, p.most)
    sizes = {"figure 7's units": tuple(unit_numbers)} if len(unit_numbers) == 2 else {}
    sizes["architectures"] = (int(n_a), int(n_b))
    tests = {name: share_difference(a, n[0], b, n[1], decision.level) for name, n in sizes.items()}
    needed = smallest_significant(a, b, n_b / n_a, decision.level)
    alpha = 1.0 - decision.level
    told = "; ".join(
        f"{name} as units ({count(test.n[0])} and {count(test.n[1])}): "
        f"{span((100 * test.interval[0], 100 * test.interval[1]), 1)}, {p_equals(test.p_value)}"
        for name, test in tests.items()
    )
    worst = max(tests.values(), key=lambda test: test.p_value)
    established = all(test.p_value < alpha and test.estimate > 0 for test in tests.values())
    against = a <= b and all(test.p_value < alpha for test in tests.values())
    return Outcome(
        answer=(
            f"{p.share} is {signed(100 * (a - b), 1)} points in {p.higher} against {p.lower}: {told}. "
            + (f"It would be significant from {count(needed)} independent units in {p.higher} on. " if needed else "")
            + "That exploration is needed would take searches with and without it; shares of labels cannot show it."
        ),
        verdict="contradicted" if against else "not_testable" if established else "inconclusive",
        method=f"Score test of two shares, Newcombe's interval; the larger p-value, so no correction. {CLUSTERS}",
        estimate=float(a - b),
        unit="share of units",
        interval=worst.interval,
        n=sum(worst.n),
        p_value=worst.p_value,
        rows=located(sheet, sheet.cells.loc[[row for row in rows if row is not None]]),
        calibrated=tuple(("share_difference.p_value", test.n[0]) for test in tests.values()),
        details={"smallest_significant": needed, "p_values": {name: test.p_value for name, test in tests.items()}},
    )


ORIGIN_CHECKS = {
    "stated_shares": ClaimCheck(SharesParameters, stated_shares),
    "weighted_row": ClaimCheck(TotalParameters, weighted_row),
    "leading_origin": ClaimCheck(LeadingParameters, leading_origin),
    "share_rise": ClaimCheck(RiseParameters, share_rise),
}
