"""Claims on the sizes of models over the search (figure 8), and on the items of its benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.reading import between, located, numbers, unreadable, verdict
from audit.claims.tree import read_tree
from audit.consistency.granularity import fits
from audit.consistency.inconsistency import Inconsistency
from audit.statistics.proportions import clopper_pearson
from audit.statistics.shares import share_difference
from audit.wording import count, number, p_equals, plural, span

BINS = (
    "Shares are printed to two digits and counts are not: limits are those at the ends of the rounding, of as many "
    "released nodes as a bin holds. Nodes of one lineage are alike, which the intervals leave out."
)


@dataclass(frozen=True, kw_only=True)
class BandParameters:
    """band: column of figure 8 of the stated size. larger: column of the next band. edges: identifiers at which its
    bins begin (the first: after the last node before it)."""

    band: str
    larger: str
    edges: tuple[int, ...]


def _bins(evidence: ClaimEvidence, p: BandParameters) -> pd.DataFrame | None:
    """Columns band, larger (shares), half (of their rounding) and n (released nodes), by row; None: not as needed."""
    sheet = evidence.sheets["figure8"]
    frame = numbers(sheet, [p.band, p.larger])
    if (
        len(frame) != len(p.edges)
        or len(frame) != len(sheet.cells)
        or not frame.apply(lambda c: c.between(0, 1)).all(axis=None)
    ):
        return None
    cells = [sheet.printed(name) for name in (p.band, p.larger)]
    # Trailing zeros are not printed in the file, so the longest number tells the digits.
    half = min(cell.half for column in cells for cell in column)
    bins = np.digitize(read_tree(evidence.sheets["tree"]).identifier, np.array(p.edges), right=True)
    nodes = np.bincount(bins, minlength=len(p.edges) + 1)[1:]
    return frame.set_axis(["band", "larger"], axis=1).assign(half=half, n=nodes)


def spread_upward(evidence: ClaimEvidence, p: BandParameters, decision: Decision) -> Outcome:
    """Whether most early models are in the band, and the share of the next band grows."""
    sheet = evidence.sheets["figure8"]
    bins = _bins(evidence, p)
    if bins is None or (bins["n"] == 0).any():
        return unreadable(sheet, f"shares of {p.band} and {p.larger} in {len(p.edges)} bins")
    first, last = bins.iloc[0], bins.iloc[-1]
    early = _limits(first["band"], first, decision)
    slack = min(2.0 * first["half"], abs(last["larger"] - first["larger"]))
    change = share_difference(
        float(np.clip(last["larger"] - np.sign(last["larger"] - first["larger"]) * slack, 0.0, 1.0)),
        last["n"],
        first["larger"],
        first["n"],
        decision.level,
    )
    alpha = 1.0 - decision.level
    grows, shrinks = (change.p_value < alpha and sign * change.estimate > 0 for sign in (1.0, -1.0))
    return Outcome(
        answer=(
            f"In the first bin {100 * first['band']:.0f}% of {count(first['n'])} nodes are in {p.band} "
            f"({between((100 * early[0], 100 * early[1]), 1)}%); {p.larger} goes from {100 * first['larger']:.0f}% to "
            f"{100 * last['larger']:.0f}% in the last ({p_equals(change.p_value)}, {count(last['n'])} nodes). "
            "How the figure's sizes follow from models of the search's own size is not told."
        ),
        verdict=verdict(supported=early[0] > 0.5 and grows, contradicted=early[1] < 0.5 or shrinks),
        method=f"Clopper-Pearson; score test of two shares, no correction. {BINS}",
        estimate=float(last["larger"] - first["larger"]),
        unit="share of nodes",
        n=int(bins["n"].sum()),
        p_value=change.p_value,
        rows=located(sheet, bins),
        calibrated=(("clopper_pearson", int(first["n"])), ("share_difference.p_value", int(first["n"]))),
    )


def _limits(share: float, row: pd.Series[float], decision: Decision) -> tuple[float, float]:
    """Exact limits of a printed share, of whole numbers of nodes at both ends of its rounding."""
    n = int(row["n"])
    ends = [int(np.clip(round((share + side * row["half"]) * n), 0, n)) for side in (-1.0, 1.0)]
    low, high = (clopper_pearson(hits, n, decision.level).interval for hits in ends)
    return low[0], high[1]


def stays_in_band(evidence: ClaimEvidence, p: BandParameters, decision: Decision) -> Outcome:
    """Whether most models are in the band in every bin, and its share does not fall.

    decision.sesoi: fall of the share that counts as growth of the models.
    """
    assert decision.sesoi is not None
    sheet = evidence.sheets["figure8"]
    bins = _bins(evidence, p)
    if bins is None or (bins["n"] == 0).any():
        return unreadable(sheet, f"shares of {p.band} in {len(p.edges)} bins")
    limits = [_limits(row["band"], row, decision) for _, row in bins.iterrows()]
    bins["low"], bins["high"] = zip(*limits, strict=True)
    first, last = bins.iloc[0], bins.iloc[-1]
    fall = share_difference(first["band"], first["n"], last["band"], last["n"], decision.level)
    low, high = (float(end + side * 2.0 * first["half"]) for end, side in zip(fall.interval, (-1.0, 1.0), strict=True))
    return Outcome(
        answer=(
            f"{p.band} holds {', '.join(f'{100 * share:.0f}%' for share in bins['band'])} of the nodes, bin by bin; "
            f"the lower limit is above one half in {int((bins['low'] > 0.5).sum())} of {len(bins)} bins. From first to "
            f"last the share falls by {100 * fall.estimate:.0f} points ({span((100 * low, 100 * high), 1)})."
        ),
        verdict=verdict(
            supported=bool((bins["low"] > 0.5).all()) and high < decision.sesoi,
            contradicted=bool((bins["high"] < 0.5).any()),
        ),
        method=f"Clopper-Pearson for each bin, Newcombe's interval for the fall, no correction. {BINS}",
        estimate=fall.estimate,
        unit="share of nodes",
        interval=(low, high),
        n=int(bins["n"].sum()),
        rows=located(sheet, bins),
        calibrated=(("clopper_pearson", int(first["n"])), ("share_difference.interval", int(first["n"]))),
    )


@dataclass(frozen=True, kw_only=True)
class ItemParameters:
    """table, name, score: mean scores in percent at the search scale. tasks, items: benchmarks and items of each.

    others: numbers of items to set beside it.
    """

    table: str
    name: str
    score: str
    tasks: int
    items: int
    others: tuple[int, ...]


def item_granularity(evidence: ClaimEvidence, p: ItemParameters, decision: Decision) -> Outcome:
    """Whether every printed mean is possible for the stated number of items (GRIM, Brown and Heathers 2017)."""
    sheet = evidence.sheets[p.table]
    cells = sheet.printed(p.score).dropna()
    if cells.empty:
        return unreadable(sheet, f"a number in the column {p.score}")
    values, halves = (np.array([getattr(cell, part) for cell in cells]) for part in ("value", "half"))
    tried = (p.items, *p.others)
    good = dict(zip(tried, fits(cells.tolist(), [p.tasks * items for items in tried]), strict=True))
    stated = good[p.items]
    share = float(np.minimum(1.0, 2.0 * halves * p.tasks * p.items / 100.0).mean())
    told = ", ".join(f"{items}: {int(fit.sum())}" for items, fit in good.items() if items != p.items)
    frame = pd.DataFrame({"name": sheet.column(p.name).loc[cells.index], "score": values, "possible": stated})
    return Outcome(
        answer=(
            f"{int(stated.sum())} of {plural(len(values), 'printed mean')} are possible for {p.tasks} tasks of "
            f"{p.items} items, where {100 * share:.0f}% of any numbers would be; for other numbers of items: {told} "
            f"(multiples fit too). Only the total of {p.tasks * p.items} is tested: other tasks could make it up. "
            f"{plural(len(sheet.cells) - len(cells), 'cell')} hold no number. Size and tokens of the search are not "
            "tested by this."
        ),
        verdict=verdict(
            supported=bool(stated.all()) and share ** len(values) < 1.0 - decision.level, contradicted=not stated.all()
        ),
        method="Granularity of means of right answers, within the rounding of each printed mean. Equal items per task.",
        estimate=float(stated.mean()),
        unit="share of means",
        n=len(values),
        rows=located(sheet, frame),
        inconsistencies=tuple(
            _impossible(sheet.file, int(row), value, p) for row, value in frame.loc[~stated, "score"].items()
        ),
        details={"possible": {str(items): int(fit.sum()) for items, fit in good.items()}, "of_any_numbers": share},
    )


def _impossible(file: str, place: int, value: float, p: ItemParameters) -> Inconsistency:
    nearest = round(value * p.tasks * p.items / 100.0)
    return Inconsistency(
        kind="percentage",
        file=file,
        row=place,
        column=p.score,
        printed=f"{value:g}",
        recomputed=number(100.0 * nearest / (p.tasks * p.items), 4),
        note=f"no whole number of right answers of {p.tasks} x {p.items} gives this mean; the nearest is shown",
    )


SIZE_CHECKS = {
    "spread_upward": ClaimCheck(BandParameters, spread_upward),
    "stays_in_band": ClaimCheck(BandParameters, stays_in_band),
    "item_granularity": ClaimCheck(ItemParameters, item_granularity),
}
