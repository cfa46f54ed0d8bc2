"""Claims on a curve of discoveries against compute (figure 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import linprog

from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.reading import EXACT, between, located, numbers, unreadable, verdict
from audit.finding import permitted
from audit.statistics.estimate import Floats
from audit.statistics.events import ConstantRate, constant_rate
from audit.wording import count, number, p_equals, plural


@dataclass(frozen=True, kw_only=True)
class AxisMap:
    """time = slope * identifier + offset, the map that leaves the widest margin.

    margin: time by which the tightest event stays on its side of a point; negative: no map reproduces every count.
    slopes: smallest and largest slope that do. reproduced: share of points whose count the map gives.
    """

    slope: float
    offset: float
    margin: float
    slopes: tuple[float, float]
    reproduced: float


def axis_map(times: Floats, counts: Floats, identifiers: Floats) -> AxisMap:
    """The line from identifiers [n], sorted, to times [k] under which counts [k] events have come by each time."""
    rows, limits = _conditions(times, counts, identifiers)
    slope, offset, margin = _widest(rows, limits, float(np.ptp(times)))
    slopes = (slope, slope)
    if margin > 0.0:
        exact = [(0.0, None), (None, None), (0.0, 0.0)]
        ends = [linprog([sign, 0.0, 0.0], A_ub=rows, b_ub=limits, bounds=exact).x[0] for sign in (1.0, -1.0)]
        slopes = (float(ends[0]), float(ends[1]))
    drawn = np.searchsorted(slope * identifiers + offset, times, side="right")
    reproduced = float((drawn == counts).mean())
    return AxisMap(slope=slope, offset=offset, margin=margin, slopes=slopes, reproduced=reproduced)


def _conditions(times: Floats, counts: Floats, identifiers: Floats) -> tuple[list[list[float]], list[float]]:
    """Event number c comes by its time and event c + 1 after it, each by a margin: rows of (slope, offset, margin)."""
    rows, limits = [], []
    for time, events in zip(times, counts.astype(int), strict=True):
        if events > 0:
            rows.append([float(identifiers[events - 1]), 1.0, 1.0])
            limits.append(float(time))
        if events < len(identifiers):
            rows.append([-float(identifiers[events]), -1.0, 1.0])
            limits.append(-float(time))
    return rows, limits


def _widest(rows: list[list[float]], limits: list[float], span: float) -> tuple[float, float, float]:
    """Slope, offset and margin of the line with the widest margin: a linear programme."""
    bounds = [(0.0, None), (None, None), (-span, span)]
    best = linprog([0.0, 0.0, -1.0], A_ub=rows, b_ub=limits, bounds=bounds)
    assert best.success, best.message
    slope, offset, margin = (float(value) for value in best.x)
    return slope, offset, margin


@dataclass(frozen=True, kw_only=True)
class AxisParameters:
    """time, events: columns of figure 1. identifier: of the gallery; tree gives the number of all nodes.

    variation: coefficients of variation of one run's duration in the simulation. draws: simulated searches of each.
    """

    time: str
    events: str
    identifier: str
    variation: tuple[float, ...]
    draws: int


def derived_axis(evidence: ClaimEvidence, p: AxisParameters, decision: Decision) -> Outcome:
    """Whether the compute axis can be had from the numbers of the nodes alone.

    If it can, the curve may be a count of nodes and no measurement of compute.
    """
    sheet, gallery = evidence.sheets["figure1"], evidence.sheets["gallery"]
    points = numbers(sheet, [p.time, p.events])
    identifiers = np.sort(gallery.numbers(p.identifier).dropna().to_numpy(dtype=np.float64))
    problem = _no_curve(points[p.events], len(identifiers))
    if problem:
        return unreadable(sheet, problem)
    times, events = (points[name].to_numpy(dtype=np.float64) for name in (p.time, p.events))
    found = axis_map(times, events, identifiers)
    chance = _exact_by_chance(times, identifiers, found, p, decision.rng())
    derived = found.margin > 0.0
    shape = (
        f"a line reproduces every count: {number(found.slopes[0])} to {number(found.slopes[1])} of the axis's unit a "
        f"node, its zero near node {number(-found.offset / found.slope, 0)}"
        if derived
        else f"no line reproduces every count; the best gives {100 * found.reproduced:.0f}% of the points"
    )
    simulated = "; ".join(f"{100 * cv:g}% variation: {100 * share:.1f}%" for cv, share in chance.items())
    return Outcome(
        answer=(
            f"From the numbers of the {len(identifiers)} nodes to the figure's {len(points)} points, {shape}. "
            "Had compute been measured over run times that vary independently, a line would do so in this share of "
            f"searches: {simulated}."
            + (" So the axis may be a count of nodes, each of the same cost, and not a measurement." if derived else "")
        ),
        verdict="inconclusive",
        method=(
            "Linear programme for the line from node number to axis with the widest margin. Simulation: "
            f"gamma-distributed run times, {count(p.draws)} searches at each variation."
        ),
        estimate=found.reproduced,
        unit="share of points",
        n=len(points),
        rows=located(sheet, points),
        details={**vars(found), "exact_by_chance": {str(cv): share for cv, share in chance.items()}},
    )


def _no_curve(events: pd.Series[float], identifiers: int) -> str:
    """What is wrong with cumulative counts; empty: nothing."""
    good = len(events) > 2 and bool((events.diff().dropna() >= 0).all() and (events % 1 == 0).all())
    if not good or events.iloc[0] < 0 or events.iloc[-1] == 0:
        return "cumulative counts at three points or more"
    return "" if events.iloc[-1] <= identifiers else "a curve of no more events than there are identifiers"


def _exact_by_chance(
    times: Floats, identifiers: Floats, found: AxisMap, p: AxisParameters, rng: np.random.Generator
) -> dict[float, float]:
    """Share of simulated searches with measured run times that some line reproduces exactly."""
    shares, reach = {}, float(np.ptp(times))
    for cv in p.variation:
        runs = rng.gamma(cv**-2, cv**2, size=(p.draws, int(identifiers[-1]))) * found.slope
        clock = runs.cumsum(axis=1)[:, identifiers.astype(int) - 1] + found.offset
        counts = [np.searchsorted(row, times, side="right").astype(np.float64) for row in clock]
        margins = [_widest(*_conditions(times, drawn, identifiers), reach)[2] for drawn in counts]
        shares[cv] = float((np.array(margins) > 0.0).mean())
    return shares


@dataclass(frozen=True, kw_only=True)
class EndsParameters:
    """time, events: columns. points: stated number of rows. first, last: stated [time, events] of the end rows."""

    time: str
    events: str
    points: int
    first: tuple[float, ...]
    last: tuple[float, ...]


def series_ends(evidence: ClaimEvidence, p: EndsParameters, _decision: Decision) -> Outcome:
    """Number of points of a curve and its two ends, and its last count against the rows of the gallery."""
    sheet, gallery = evidence.sheets["figure1"], evidence.sheets["gallery"]
    points = numbers(sheet, [p.time, p.events])
    if points.empty:
        return unreadable(sheet, f"numbers in the columns {p.time} and {p.events}")
    first, last = (tuple(float(value) for value in points.iloc[place]) for place in (0, -1))
    good = len(points) == p.points and first == p.first and last == p.last
    return Outcome(
        answer=(
            f"The curve has {plural(len(points), 'point')} and runs from {first[1]:g} at {first[0]:g} to {last[1]:g} "
            f"at {last[0]:g}; the gallery holds {len(gallery.cells)} programs."
        ),
        verdict=verdict(supported=good, contradicted=not good),
        method=EXACT,
        estimate=last[1],
        unit="discoveries",
        n=len(points),
        rows=located(sheet, points),
        details={"gallery": len(gallery.cells)},
    )


@dataclass(frozen=True, kw_only=True)
class RateParameters:
    """time, events: columns of figure 1, equally spaced. draws: simulated curves."""

    time: str
    events: str
    draws: int


def linear_curve(evidence: ClaimEvidence, p: RateParameters, decision: Decision) -> Outcome:
    """Cumulative counts against a constant rate, and what R^2 is worth for such a curve.

    decision.sesoi: ratio of the later half's rate to the earlier half's, or its inverse, below which both are alike.
    """
    assert decision.sesoi is not None
    sheet = evidence.sheets["figure1"]
    points = numbers(sheet, [p.time, p.events])
    steps = points[p.time].diff().dropna()
    problem = _no_curve(points[p.events], int(points[p.events].max()) if len(points) else 0)
    if problem or not np.allclose(steps, steps.iloc[0]):
        return unreadable(sheet, problem or "equally spaced points")
    found = constant_rate(points[p.events].diff().iloc[1:].to_numpy(), decision.level, decision.rng(), p.draws)
    alpha = 1.0 - decision.level
    low, high = permitted(found.ratio_interval, "clopper_pearson", found.n, decision.withheld)
    alike = found.p_value >= alpha and low >= 1.0 / decision.sesoi and high <= decision.sesoi
    unlike = max(found.p_value, found.clustered_p) < alpha and (low > decision.sesoi or high < 1.0 / decision.sesoi)
    return Outcome(
        answer=_linear_answer(found, (low, high)),
        verdict=verdict(supported=alike, contradicted=unlike),
        method=(
            "Kolmogorov-Smirnov distance of binned counts from a constant rate, simulated given their sum; p-value: "
            "the larger of that for independent discoveries and that which allows for the counts' dispersion. No "
            "correction. Ratio: exact binomial interval."
        ),
        estimate=found.r_squared,
        unit="R^2",
        n=found.n,
        p_value=max(found.p_value, found.clustered_p),
        rows=located(sheet, points),
        calibrated=(("constant_rate.p_value", found.n), ("clopper_pearson", found.n)),
        details=vars(found),
    )


def _linear_answer(found: ConstantRate, ratio: tuple[float, float]) -> str:
    return (
        f"R^2 of a line through the cumulative counts is {number(found.r_squared)}; a constant rate of as many "
        f"discoveries gives {number(found.r_squared_range[0])} to {number(found.r_squared_range[1])}, so R^2 alone "
        f"says little. The counts differ from a constant rate with {p_equals(found.p_value)}, or "
        f"{p_equals(found.clustered_p)} allowing for their dispersion of {number(found.dispersion, 2)} "
        f"(n = {count(found.n)}). The later half's rate is {number(found.ratio, 2)} times the earlier half's "
        f"({between(ratio, 2)}). It is a rate on the figure's axis, whatever that measures."
    )


CURVE_CHECKS = {
    "derived_axis": ClaimCheck(AxisParameters, derived_axis),
    "series_ends": ClaimCheck(EndsParameters, series_ends),
    "linear_curve": ClaimCheck(RateParameters, linear_curve),
}
