"""Claims on the shares of component categories in the gallery and the rest (figure 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.reading import EXACT, located, numbers, unreadable, verdict
from audit.consistency.granularity import fits
from audit.consistency.inconsistency import Inconsistency
from audit.consistency.rounding import digits
from audit.sheets import Sheet
from audit.statistics.shares import ShareDifference, share_difference
from audit.wording import count, p_equals, plural, signed, span

READING = 1  # units of the last digit by which a value read off a drawing may be off


@dataclass(frozen=True, kw_only=True)
class Units:
    """How many units a column of percentages can be shares of.

    n: the smallest number that fits the most cells. fits: [cells], which it does. chance: cells that such a number
    would fit by chance. whole: cells there are.
    """

    n: int
    fits: NDArray[np.bool_]
    chance: float

    @property
    def told(self) -> str:
        """`557 (38 of 39 cells; 0.2 by chance)`."""
        return f"{count(self.n)} ({int(self.fits.sum())} of {len(self.fits)} cells fit; {self.chance:.1f} by chance)"


def units(sheet: Sheet, column: str, most: int) -> Units | None:
    """The number of units up to `most` that fits most cells of a column; None without numbers."""
    cells = digits(sheet, column, zeros_dropped=True).dropna()
    if cells.empty:
        return None
    good = fits(cells.tolist(), range(1, most + 1), reading=READING)
    best = int(good.sum(axis=1).argmax())
    halves = np.array([cell.half for cell in cells]) * (1 + 2 * READING)
    chance = float(np.minimum(1.0, 2.0 * halves * (best + 1) / 100.0).sum())
    return Units(n=best + 1, fits=good[best], chance=chance)


@dataclass(frozen=True, kw_only=True)
class InstanceParameters:
    """columns: of percentages, one a group. most: largest number of units to try. stated: units in all.

    enough: share of the cells that a number must fit to be taken for the number of units.
    """

    columns: tuple[str, ...]
    most: int
    stated: int
    enough: float


def instance_total(evidence: ClaimEvidence, p: InstanceParameters, decision: Decision) -> Outcome:
    """The number of units behind the percentages, against the stated total.

    decision.sesoi: relative difference from an approximate total that matters.
    """
    assert decision.sesoi is not None
    sheet = evidence.sheets["figure7"]
    found = [units(sheet, column, p.most) for column in p.columns]
    known = [one for one in found if one is not None]
    if len(known) != len(p.columns):
        return unreadable(sheet, f"percentages in {', '.join(p.columns)}")
    total = sum(one.n for one in known)
    sure = all(one.fits.mean() >= p.enough and one.chance < one.fits.sum() / 2.0 for one in known)
    near = abs(total / p.stated - 1.0) <= decision.sesoi
    told = ", ".join(f"{column}: {one.told}" for column, one in zip(p.columns, known, strict=True))
    return Outcome(
        answer=(
            f"The percentages are those of {told}: {count(total)} units in all, stated are about {count(p.stated)}. "
            "These are the smallest numbers that fit so many cells; multiples fit too, and are larger. What a unit is "
            "is not told by the figure."
        ),
        verdict=verdict(supported=sure and near, contradicted=sure and not near and total > p.stated),
        method="Granularity: for each number of units, the percentages that some whole number of them gives.",
        estimate=float(total),
        unit="units",
        n=len(sheet.cells),
        rows=_cells(sheet, p.columns, known),
        details={column: {"n": one.n, "chance": one.chance} for column, one in zip(p.columns, known, strict=True)},
    )


def _cells(sheet: Sheet, columns: Sequence[str], known: Sequence[Units]) -> pd.DataFrame:
    frame = sheet.cells.copy()
    for column, one in zip(columns, known, strict=True):
        place = sheet.printed(column).dropna().index
        frame[f"{column} fits {one.n}"] = pd.Series(one.fits, index=place)
    return located(sheet, frame)


@dataclass(frozen=True, kw_only=True)
class GroupParameters:
    """columns: of percentages. sizes: stated architectures of each group. most, enough: as `InstanceParameters`."""

    columns: tuple[str, ...]
    sizes: tuple[int, ...]
    most: int
    enough: float


def group_percentages(evidence: ClaimEvidence, p: GroupParameters, _decision: Decision) -> Outcome:
    """Whether each column can be shares of one whole number and sums to 100, and the groups make up the tree."""
    sheet, tree = evidence.sheets["figure7"], evidence.sheets["tree"]
    known = [units(sheet, column, p.most) for column in p.columns]
    found = [one for one in known if one is not None]
    if len(found) != len(p.columns):
        return unreadable(sheet, f"percentages in {', '.join(p.columns)}")
    sums = [float(sheet.numbers(column).sum()) for column in p.columns]
    slack = [sum(cell.half for cell in sheet.printed(column).dropna()) for column in p.columns]
    whole = all(abs(total - 100.0) <= room + 1e-9 for total, room in zip(sums, slack, strict=True))
    every, few = (all(one.fits.mean() >= share for one in found) for share in (1.0, p.enough))
    nodes = len(tree.cells) == sum(p.sizes)
    odd = [cell for column, one in zip(p.columns, found, strict=True) for cell in _odd(sheet, column, one)]
    return Outcome(
        answer=(
            f"{', '.join(f'{column} sums to {total:.3f}' for column, total in zip(p.columns, sums, strict=True))}; "
            f"{plural(len(odd), 'cell')} fit no whole number of the units that fit the others "
            f"({'; '.join(one.told for one in found)}). The groups of {' and '.join(map(count, p.sizes))} "
            f"architectures make {count(sum(p.sizes))}, the released tree has {count(len(tree.cells))} nodes. The "
            "labels themselves were not released."
        ),
        verdict=verdict(supported=every and whole and nodes, contradicted=not (few and whole)),
        method="Granularity of the printed percentages; sums within the rounding of all cells.",
        estimate=float(len(odd)),
        unit="cells",
        n=sum(len(one.fits) for one in found),
        rows=_cells(sheet, p.columns, found),
        inconsistencies=tuple(odd) if few else (),
        details={"sums": sums, "nodes": len(tree.cells)},
    )


def _odd(sheet: Sheet, column: str, one: Units) -> list[Inconsistency]:
    cells = sheet.column(column)[sheet.printed(column).notna()]
    return [
        Inconsistency(
            kind="percentage",
            file=sheet.file,
            row=int(row),
            column=column,
            printed=str(cell),
            recomputed=f"{100.0 * round(sheet.numbers(column)[row] * one.n / 100.0) / one.n:.4f}",
            note=f"no whole number of {one.n} units gives this; the nearest is shown. {one.told}",
        )
        for row, cell in cells[~one.fits].items()
    ]


@dataclass(frozen=True, kw_only=True)
class CategoryParameters:
    """stated: number of categories."""

    stated: int


def category_count(evidence: ClaimEvidence, p: CategoryParameters, _decision: Decision) -> Outcome:
    """Categories in the figure against the stated number; one that nobody used would not show."""
    sheet = evidence.sheets["figure7"]
    found = int(sheet.column("category").nunique())
    return Outcome(
        answer=(
            f"The figure has {plural(found, 'category').replace('categorys', 'categories')}, stated are {p.stated}. "
            "A category that no architecture used would not be in the figure."
        ),
        verdict=verdict(supported=found == p.stated, contradicted=found > p.stated),
        method=EXACT,
        estimate=float(found),
        unit="categories",
        n=found,
    )


@dataclass(frozen=True, kw_only=True)
class FavouriteParameters:
    """categories: said to be favoured. columns: of percentages, one a group. top: ranks that count as favoured."""

    categories: tuple[str, ...]
    columns: tuple[str, ...]
    top: int


def favourites(evidence: ClaimEvidence, p: FavouriteParameters, _decision: Decision) -> Outcome:
    """Ranks of the named categories in each group."""
    sheet = evidence.sheets["figure7"]
    shares = numbers(sheet, p.columns)
    ranks = shares.rank(ascending=False, method="min").astype(int)
    places = {name: sheet.column("category")[sheet.column("category") == name].index for name in p.categories}
    if any(len(place) != 1 or place[0] not in ranks.index for place in places.values()):
        return unreadable(sheet, f"a row with numbers for each of {', '.join(p.categories)}")
    table = ranks.loc[[place[0] for place in places.values()]]
    told = "; ".join(
        f"{name}: rank {table.loc[place[0], column]} of {column} ({shares.loc[place[0], column]:g}%)"
        for name, place in places.items()
        for column in p.columns
    )
    good = bool((table <= p.top).all(axis=None))
    return Outcome(
        answer=f"{told}; of {len(shares)} categories. Ranks as printed: close ones may change with other labels.",
        verdict=verdict(supported=good, contradicted=not good),
        method=EXACT,
        estimate=float(table.to_numpy().max()),
        unit="rank",
        n=len(shares),
        rows=located(sheet, sheet.cells.loc[table.index].assign(**{f"rank.{c}": table[c] for c in p.columns})),
    )


@dataclass(frozen=True, kw_only=True)
class TailParameters:
    """gallery, rest: columns of percentages. heads: numbers of largest categories (of the rest) that are no tail.

    sizes: architectures of the two groups. most: largest number of units to try.
    """

    gallery: str
    rest: str
    heads: tuple[int, ...]
    sizes: tuple[int, ...]
    most: int


def long_tail(evidence: ClaimEvidence, p: TailParameters, decision: Decision) -> Outcome:
    """Share of rare categories in gallery and rest, for several cuts and two sample sizes; a verdict needs all."""
    sheet = evidence.sheets["figure7"]
    shares = numbers(sheet, [p.gallery, p.rest])
    found = [units(sheet, column, p.most) for column in (p.gallery, p.rest)]
    known = [one for one in found if one is not None]
    if len(known) != 2 or len(shares) <= max(p.heads):
        return unreadable(sheet, f"more than {max(p.heads)} categories with percentages")
    ordered = shares.sort_values(p.rest, ascending=False, kind="stable")
    rows = []
    for head in p.heads:
        tails = ordered.iloc[head:].sum() / 100.0
        for unit, sizes in (("unit", [one.n for one in known]), ("architecture", p.sizes)):
            test = share_difference(tails[p.gallery], sizes[0], tails[p.rest], sizes[1], decision.level)
            rows.append(_tail_row(head, unit, test, tails[p.gallery], tails[p.rest]))
    table = pd.DataFrame(rows)
    alpha = 1.0 - decision.level
    lighter, heavier = ((table["p_value"] < alpha) & (sign * table["difference"] < 0) for sign in (1.0, -1.0))
    first = table.iloc[0]
    worst = table.loc[table["p_value"].idxmax()]
    return Outcome(
        answer=(
            f"Outside the {int(first['head'])} categories that are largest in the rest, the gallery has "
            f"{100 * first['gallery']:.1f}% of its units and the rest {100 * first['rest']:.1f}%: "
            f"{signed(100 * first['difference'], 1)} points ({span((100 * first['low'], 100 * first['high']), 1)}, "
            f"{p_equals(first['p_value'])}, n = {count(known[0].n)} and {count(known[1].n)}). The least sure of "
            f"{len(table)} readings gives {p_equals(worst['p_value'])}. Units of one architecture go together; with "
            "one unit an architecture the test is the most cautious."
        ),
        verdict=verdict(supported=bool(lighter.all()), contradicted=bool(heavier.all())),
        method=(
            "Score test of two shares and Newcombe's interval, units taken as independent, and again with as many "
            "units as architectures. p-value: the largest of all readings, so no correction."
        ),
        estimate=float(first["difference"]),
        unit="share of units",
        interval=(float(first["low"]), float(first["high"])),
        n=known[0].n + known[1].n,
        p_value=float(worst["p_value"]),
        rows=located(sheet, ordered),
        calibrated=(("share_difference.p_value", known[0].n), ("share_difference.p_value", p.sizes[0])),
        details={"readings": table.to_dict("records")},
    )


def _tail_row(head: int, unit: str, test: ShareDifference, gallery: float, rest: float) -> dict[str, object]:
    low, high = test.interval
    values = {"gallery": gallery, "rest": rest, "difference": test.estimate, "low": low, "high": high}
    return {"head": head, "unit": unit, **values, "p_value": test.p_value}


MOTIF_CHECKS = {
    "instance_total": ClaimCheck(InstanceParameters, instance_total),
    "group_percentages": ClaimCheck(GroupParameters, group_percentages),
    "category_count": ClaimCheck(CategoryParameters, category_count),
    "favourites": ClaimCheck(FavouriteParameters, favourites),
    "long_tail": ClaimCheck(TailParameters, long_tail),
}
