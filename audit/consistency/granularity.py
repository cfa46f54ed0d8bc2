"""Granularity: which percentages and means can come from counts at all.

After N. J. L. Brown and J. A. J. Heathers, The GRIM test, Social Psychological and Personality Science 8 (2017): a mean
of n whole numbers is a multiple of 1/n. All arithmetic here is on whole numbers, so there is no tolerance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from audit.consistency.inconsistency import Checked, Inconsistency, together
from audit.consistency.rounding import at, digits, need
from audit.sheets import Printed, Sheet, Sheets
from replication.settings import require

CONVINCING = 1e-6  # chance below which columns of random numbers are no explanation
MOST_STEPS = 1e10  # digits beyond this are no rounding of a share, and would not fit whole-number arithmetic


@dataclass(frozen=True, kw_only=True)
class Percentages:
    """Columns whose cells are shares of the count in column `count` of their row. whole: 100, or 1 for fractions."""

    sheet: str
    columns: tuple[str, ...]
    count: str
    whole: int
    allow_truncation: bool
    zeros_dropped: bool


@dataclass(frozen=True, kw_only=True)
class Grim:
    """Columns of accuracies, each with the number of items behind it."""

    sheet: str
    items: dict[str, int]
    whole: int
    allow_truncation: bool
    zeros_dropped: bool


@dataclass(frozen=True, kw_only=True)
class Granularity:
    """A column of shares of one unknown count, which is to be at most `most`.

    reading: error of values read off a graphic, in units of the last digit; 0 for printed numbers. partition: the
    shares are of everything there is, so that their counts add up to the whole.
    """

    sheet: str
    column: str
    most: int
    whole: int
    zeros_dropped: bool
    reading: int
    partition: bool


@dataclass(frozen=True, kw_only=True)
class OnGrid:
    """A measured column, of which no value should be `offset` plus a whole number of steps of 1 / `steps`."""

    sheet: str
    column: str
    offset: float
    steps: int


def fits(
    values: Sequence[Printed], counts: Sequence[int], *, whole: int = 100, reading: int = 0, truncation: bool = False
) -> NDArray[np.bool_]:
    """[counts, values] whether a value is k/n of `whole` for the count n and a whole number k, rounded as printed.

    Rounding half up and half to even both count. reading: further error of a value, in units of its last digit.
    truncation: cutting digits off counts too. A number that was not rounded is taken to MOST_STEPS steps of the whole.
    """
    numerators, steps = np.array([_as_ratio(value, whole) for value in values], dtype=np.int64).reshape(-1, 2).T
    return _possible(np.array(counts, dtype=np.int64), numerators, steps, reading, truncation)


def compatible_counts(
    values: Sequence[Printed], most: int, *, whole: int = 100, reading: int = 0, truncation: bool = False
) -> list[int]:
    """Every n up to `most` that each value fits; the rest as `fits`.

    From n = whole / (2 half widths) on, every n fits: see `random_fit`.
    """
    good = fits(values, range(1, most + 1), whole=whole, reading=reading, truncation=truncation)
    return (np.flatnonzero(good.all(axis=1)) + 1).tolist()


def random_fit(values: Sequence[Printed], n: int, *, whole: int = 100, reading: int = 0) -> float:
    """Chance that random values with as many digits all fit n; 1 where every value fits, and nothing is learnt."""
    steps = np.array([round(whole / (2 * value.half)) for value in values if value.half > 0], dtype=float)
    return float(np.prod(np.minimum(1.0, (n + 1) * (1 + 2 * reading) / (steps + 1))))


def percentages(sheets: Sheets, p: Percentages) -> Checked:
    """Cells that no whole number of the row's count gives."""
    sheet = need(sheets, p.sheet)
    counts = sheet.numbers(p.count)
    whole_counts = {row: int(n) for row, n in counts.items() if n >= 1 and float(n).is_integer()}
    return together(
        [_impossible(sheet, column, whole_counts, p.whole, p.allow_truncation, p.zeros_dropped) for column in p.columns]
    )


def grim(sheets: Sheets, p: Grim) -> Checked:
    """Accuracies that no whole number of right answers gives, the number of items being known."""
    sheet = need(sheets, p.sheet)
    for column, n in p.items.items():
        require(n >= 1, f"items of {p.sheet}.{column}: {n}, expected at least 1")
    return together(
        [
            _impossible(
                sheet, column, dict.fromkeys(sheet.cells.index, n), p.whole, p.allow_truncation, p.zeros_dropped
            )
            for column, n in p.items.items()
        ]
    )


def granularity(sheets: Sheets, p: Granularity) -> Checked:
    """A column that no count gives, or the cells that spoil the count which gives all the others.

    The count taken is the one whose fits random numbers would share least often: a multiple of the true count, being
    finer, fits as much and shows less. It is taken only where chance is no explanation. Numbers of JSON were not
    rounded and are left out.
    """
    sheet = need(sheets, p.sheet)
    require(p.most >= 1, f"granularity of {p.sheet}.{p.column}: most is {p.most}, expected at least 1")
    cells = {row: cell for row, cell in digits(sheet, p.column, p.zeros_dropped).items() if _granular(cell, p.whole)}
    if not cells:
        return Checked(compared=0, inconsistencies=())
    values = list(cells.values())
    good = fits(values, range(1, p.most + 1), whole=p.whole, reading=p.reading)
    complete = [int(n) + 1 for n in np.flatnonzero(good.all(axis=1))]
    n, chance = _least_by_chance(values, good, p.whole, p.reading)
    wrong = [row for row, fit in zip(cells, good[n - 1], strict=True) if not fit]
    found: list[Inconsistency] = []
    if chance <= CONVINCING and wrong:
        fitting = f"{n}, the count behind {len(cells) - len(wrong)} of {len(cells)} values, does not give this"
        note = fitting + (f"; {complete[0]} would give all" if complete else f"; no count up to {p.most} gives all")
        found += [
            at(sheet, row, p.column, kind="percentage", recomputed=_nearest(cells[row], n, p.whole), note=note)
            for row in wrong
        ]
    elif not complete:
        note = f"no count up to {p.most} gives all {len(cells)} values"
        found.append(at(sheet, None, p.column, kind="percentage", recomputed="", note=note))
    elif chance <= CONVINCING and p.partition:
        found += _parts(sheet, p, values, complete)
    return Checked(compared=len(values), inconsistencies=tuple(found))


def _least_by_chance(values: list[Printed], good: NDArray[np.bool_], whole: int, reading: int) -> tuple[int, float]:
    """The n whose fits are hardest to come by at random, and a bound on the chance of a column with such an n.

    The bound counts every n up to it, and every choice of cells that do not fit. Values at 0 or the whole fit any n.
    """
    inner = np.array([value.value - value.half > 0 and value.value + value.half < whole for value in values])
    n = np.arange(1, len(good) + 1)
    steps = np.array([whole / (2 * value.half) for value in values])
    share = np.minimum(1.0, (n[:, None] + 1) * (1 + 2 * reading) / (steps[None] + 1))
    hits = (good & inner).sum(axis=1)
    choices = gammaln(inner.sum() + 1) - gammaln(hits + 1) - gammaln(inner.sum() - hits + 1)
    log_chance = np.log(n) + choices + (np.log(share) * (good & inner)).sum(axis=1)
    best = int(np.argmin(log_chance))
    return best + 1, float(np.exp(min(0.0, log_chance[best])))


def on_grid(sheets: Sheets, p: OnGrid) -> Checked:
    """Numbers that lie on the grid to all their digits: set by rule, as it seems, where the others were measured.

    Only numbers that were not rounded, as in JSON; a column that lies on the grid as a whole is no oddity.
    """
    sheet = need(sheets, p.sheet)
    require(p.steps >= 1, f"grid of {p.sheet}.{p.column}: steps is {p.steps}, expected at least 1")
    cells = {row: cell.value for row, cell in sheet.printed(p.column).items() if cell is not None and cell.half == 0}
    places = {row: (value - p.offset) * p.steps for row, value in cells.items()}
    near = CONVINCING / p.steps
    rows = [row for row, place in places.items() if abs(place - round(place)) <= near]
    found = []
    for row in rows if len(rows) < len(cells) / 2 else []:
        place = round(places[row])
        among = f"one of {len(rows)} such values of {len(cells)}; {2 * near * len(cells):.1g} are expected by chance"
        note = f"exactly {p.offset:g} + {place}/{p.steps}, {among}"
        found.append(at(sheet, row, p.column, kind="formula", recomputed=repr(p.offset + place / p.steps), note=note))
    return Checked(compared=len(cells), inconsistencies=tuple(found))


def _parts(sheet: Sheet, p: Granularity, values: list[Printed], counts: list[int]) -> list[Inconsistency]:
    """The counts behind all shares should add up to the whole, for at least one count that fits."""
    totals = {n: sum(round(value.value / p.whole * n) for value in values) for n in counts}
    if any(total == n for n, total in totals.items()):
        return []
    n = counts[0]
    note = f"{n} gives every share, but the whole numbers behind them add up to {totals[n]}"
    return [at(sheet, None, p.column, kind="total", recomputed=str(totals[n]), note=note, cell=str(n))]


def _impossible(
    sheet: Sheet, column: str, counts: dict[int, int], whole: int, allow_truncation: bool, zeros_dropped: bool
) -> Checked:
    cells = digits(sheet, column, zeros_dropped)
    known = {row: (cells[row], n) for row, n in counts.items() if _granular(cells[row], whole)}
    found = []
    for row, (cell, n) in known.items():
        exact = [np.array([number], dtype=object) for number in (n, *_as_ratio(cell, whole))]  # of any size
        if not _possible(exact[0], exact[1], exact[2], reading=0, truncation=allow_truncation)[0, 0]:
            note = f"no whole number out of {n} gives this; the nearest is recomputed here"
            found.append(at(sheet, row, column, kind="percentage", recomputed=_nearest(cell, n, whole), note=note))
    return Checked(compared=len(known), inconsistencies=tuple(found))


def _granular(value: Printed | None, whole: int) -> bool:
    """Whether the value was rounded to a unit that the whole holds often enough, and not absurdly often."""
    return value is not None and value.half > 0 and 1 <= whole / (2 * value.half) <= MOST_STEPS


def _as_ratio(value: Printed, whole: int) -> tuple[int, int]:
    """The value in units of its last digit, and how many units the whole has. Far outside 0..whole is cut."""
    unit = min(max(2 * value.half, whole / MOST_STEPS), whole)
    steps = round(whole / unit)
    return round(min(max(value.value / unit, -steps), 2 * steps)), steps


def _possible(
    n: np.ndarray, numerators: np.ndarray, steps: np.ndarray, reading: int, truncation: bool
) -> NDArray[np.bool_]:
    """[n, values]: |k / n - numerator / steps| <= (1/2 + reading) / steps for a k in 0..n, in whole numbers."""
    n_, top, bottom = n[:, None], numerators[None], steps[None]
    below = np.clip(top * n_ // bottom, 0, n_)
    possible = np.zeros(np.broadcast_shapes(n_.shape, top.shape), dtype=bool)
    for k in (below, np.minimum(below + 1, n_)):
        off = 2 * bottom * k - 2 * top * n_
        possible |= (np.abs(off) <= n_ * (1 + 2 * reading)).astype(bool)
        if truncation:
            possible |= ((off >= 0) & (off < 2 * n_)).astype(bool)
    return possible


def _nearest(cell: Printed, n: int, whole: int) -> str:
    numerator, steps = _as_ratio(cell, whole)
    k = min(max((2 * numerator * n + steps) // (2 * steps), 0), n)
    return f"{k}/{n} = {whole * k / n:.6g}"
