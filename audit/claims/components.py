"""Claims on the curves of the fitness and its terms (figure 6).

Their points are means over the best nodes so far: a point holds most of the nodes of the one before. So shapes are
told as they stand, without an interval, which independent points would be needed for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.reading import EXACT, located, numbers, unreadable, verdict
from audit.sheets import Printed, printed
from audit.wording import number, plural

METHOD = (
    "Rises over equal thirds of the axis, linear between points. A description of the printed curve: its points are "
    "means over largely the same nodes, so there is no interval."
)


@dataclass(frozen=True, kw_only=True)
class EndParameters:
    """order: column of the axis. stated: column -> end value as stated, with its digits."""

    order: str
    stated: dict[str, str]


def end_values(evidence: ClaimEvidence, p: EndParameters, _decision: Decision) -> Outcome:
    """Last values of curves against the stated ones, within the rounding of both."""
    sheet = evidence.sheets["figure6"]
    order = sheet.numbers(p.order).dropna()
    stated = {name: printed(text) for name, text in p.stated.items()}
    cells = {name: sheet.printed(name).get(order.idxmax()) if len(order) else None for name in stated}
    if any(cell is None for cell in [*cells.values(), *stated.values()]):
        return unreadable(sheet, f"an end value for each of {', '.join(stated)}")
    rows = [_end_row(name, cells[name], stated[name]) for name in stated]
    table = pd.DataFrame(rows, index=[order.idxmax()] * len(rows))
    wrong = table[~table["fits"]]
    listed = ", ".join(f"{row.curve} {row.printed:g} ({row.stated:g})" for row in table.itertuples())
    return Outcome(
        answer=f"{len(table) - len(wrong)} of {plural(len(table), 'end value')} agree: {listed}; stated in brackets.",
        verdict=verdict(supported=wrong.empty, contradicted=not wrong.empty),
        method=EXACT,
        estimate=float((table["printed"] - table["stated"]).abs().max()),
        unit="fitness",
        n=len(table),
        rows=located(sheet, table),
    )


def _end_row(name: str, cell: Printed | None, stated: Printed | None) -> dict[str, object]:
    assert cell is not None
    assert stated is not None
    fits = abs(cell.value - stated.value) <= cell.half + stated.half + 1e-12
    return {"curve": name, "printed": cell.value, "stated": stated.value, "fits": fits}


def thirds(order: pd.Series[float], values: pd.Series[float]) -> tuple[float, ...]:
    """Shares of a curve's whole rise in each third of its axis; negative where it went back. NaN of a flat curve."""
    knots = np.linspace(order.min(), order.max(), 4)
    at = np.interp(knots, order.to_numpy(), values.to_numpy())
    rise = at[-1] - at[0]
    return tuple(float(part) for part in np.diff(at) / rise) if rise else (np.nan,) * 3


@dataclass(frozen=True, kw_only=True)
class ShapesParameters:
    """order: column of the axis. fast: curves said to rise fast, then flatten. steady: said to rise throughout.

    A third's share of the rise would be 1/3 at a constant pace. fast_from: share of the first third from which a rise
    is fast. flat_to: share of the last third up to which it has flattened. steady_from: share that every third of a
    steady rise must have.
    """

    order: str
    fast: tuple[str, ...]
    steady: tuple[str, ...]
    fast_from: float
    flat_to: float
    steady_from: float


def curve_shapes(evidence: ClaimEvidence, p: ShapesParameters, _decision: Decision) -> Outcome:
    """Whether curves rise as stated, by their shares of rise in each third of the axis.

    A fast curve is contradicted where its last third rises as fast as its mean (1/3) or more; a steady one where its
    last third is at most flat_to of the rise.
    """
    sheet = evidence.sheets["figure6"]
    points = numbers(sheet, [p.order, *p.fast, *p.steady]).sort_values(p.order)
    if len(points) < 4:
        return unreadable(sheet, "four points of every curve")
    shares = {name: thirds(points[p.order], points[name]) for name in (*p.fast, *p.steady)}
    holds, broken = [], []
    for name in p.fast:
        holds.append(shares[name][0] >= p.fast_from and shares[name][2] < min(1.0 / 3.0, p.flat_to))
        broken.append(shares[name][2] >= max(1.0 / 3.0, p.flat_to))
    for name in p.steady:
        holds.append(min(shares[name]) >= p.steady_from)
        broken.append(shares[name][2] <= p.flat_to and shares[name][2] < p.steady_from)
    told = "; ".join(
        f"{name} {', '.join(f'{number(100 * share, 1)}%' for share in shares[name])} "
        f"({'as stated' if good else 'not as stated'})"
        for name, good in zip(shares, holds, strict=True)
    )
    return Outcome(
        answer=f"Of each curve's whole change, the three thirds of the axis hold: {told}.{_exchanged(shares, p)}",
        verdict=verdict(supported=all(holds), contradicted=any(broken)),
        method=METHOD,
        n=len(points),
        rows=located(sheet, points),
        details={"shares": {name: list(values) for name, values in shares.items()}},
    )


def _exchanged(shares: Mapping[str, tuple[float, ...]], p: ShapesParameters) -> str:
    """Which exchange of a fast and a steady curve's labels would make all as stated."""
    for fast in p.fast:
        for steady in p.steady:
            named = {**shares, fast: shares[steady], steady: shares[fast]}
            good = all(named[name][0] >= p.fast_from and named[name][2] < min(1.0 / 3.0, p.flat_to) for name in p.fast)
            if good and all(min(named[name]) >= p.steady_from for name in p.steady):
                return f" With the labels of {fast} and {steady} exchanged, all would be as stated."
    return ""


@dataclass(frozen=True, kw_only=True)
class EarlyParameters:
    """order: column of the axis. total, terms: columns; the total is the mean of the terms. leading: the term said to
    lead. early: ends of "early" to try, as shares of the axis."""

    order: str
    total: str
    terms: tuple[str, ...]
    leading: str
    early: tuple[float, ...]


def early_share(evidence: ClaimEvidence, p: EarlyParameters, _decision: Decision) -> Outcome:
    """One term's share of the total's early rise, for several readings of early; a verdict needs all of them."""
    sheet = evidence.sheets["figure6"]
    points = numbers(sheet, [p.order, p.total, *p.terms]).sort_values(p.order)
    if len(points) < 3 or p.leading not in p.terms:
        return unreadable(sheet, f"three points of every term, {p.leading} among them")
    order = points[p.order].to_numpy()
    ends = order[0] + np.array(p.early) * (order[-1] - order[0])
    rises = {name: np.interp(ends, order, points[name].to_numpy()) - points[name].iloc[0] for name in p.terms}
    shares = rises[p.leading] / np.sum(list(rises.values()), axis=0)
    if not np.isfinite(shares).all():
        return unreadable(sheet, "an early change of the fitness")
    told = ", ".join(f"{100 * share:.1f}% up to {end:g}" for share, end in zip(shares, ends, strict=True))
    return Outcome(
        answer=f"Of the rise of the fitness, {p.leading} makes up {told}.",
        verdict=verdict(supported=bool((shares > 0.5).all()), contradicted=bool((shares < 0.5).all())),
        method=METHOD,
        estimate=float(shares.min()),
        unit="share of the rise",
        n=len(points),
        rows=located(sheet, points),
        details={"up_to": ends.tolist(), "shares": shares.tolist()},
    )


@dataclass(frozen=True, kw_only=True)
class ImprovingParameters:
    """order: column of the axis. curves: said to keep improving. stalled_to: share of the whole change up to which the
    last third has stalled. steady_from: share from which it has not."""

    order: str
    curves: tuple[str, ...]
    stalled_to: float
    steady_from: float


def keeps_improving(evidence: ClaimEvidence, p: ImprovingParameters, _decision: Decision) -> Outcome:
    """Whether the last third of each curve still changes as the whole does."""
    sheet = evidence.sheets["figure6"]
    points = numbers(sheet, [p.order, *p.curves]).sort_values(p.order)
    if len(points) < 4:
        return unreadable(sheet, "four points of every curve")
    last = {name: thirds(points[p.order], points[name])[2] for name in p.curves}
    told = "; ".join(f"{name} {100 * share:.1f}%" for name, share in last.items())
    from_ = points[points[p.order] >= points[p.order].max() - (points[p.order].max() - points[p.order].min()) / 3.0]
    ends = ", ".join(
        f"{name} from {number(from_[name].iloc[0], 4)} to {number(from_[name].iloc[-1], 4)}" for name in p.curves
    )
    return Outcome(
        answer=f"The last third of the axis holds, of each curve's whole change (33.3% at a constant pace): {told}. "
        f"There they go: {ends}.",
        verdict=verdict(
            supported=all(share >= p.steady_from for share in last.values()),
            contradicted=all(share <= p.stalled_to for share in last.values()),
        ),
        method=METHOD,
        estimate=min(last.values()),
        unit="share of the change",
        n=len(points),
        rows=located(sheet, points),
        details={"last_third": last},
    )


COMPONENT_CHECKS = {
    "end_values": ClaimCheck(EndParameters, end_values),
    "curve_shapes": ClaimCheck(ShapesParameters, curve_shapes),
    "early_share": ClaimCheck(EarlyParameters, early_share),
    "keeps_improving": ClaimCheck(ImprovingParameters, keeps_improving),
}
