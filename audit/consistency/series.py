"""A figure's series against the released rows that it is said to count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from audit.consistency.inconsistency import Checked
from audit.consistency.rounding import at, need
from audit.sheets import Sheet, Sheets

Floats = NDArray[np.float64]
CLOSED = 1e-9  # of the largest x: corners of a region count as part of it


@dataclass(frozen=True, kw_only=True)
class CumulativeSeries:
    """`count` at each `axis` value should be how many rows of `rows` have scale * column + offset up to there."""

    sheet: str
    axis: str
    count: str
    rows: str
    column: str
    scale: float
    offset: float


@dataclass(frozen=True, kw_only=True)
class DerivedAxis:
    """As `CumulativeSeries`, with the scale and offset that reproduce most points.

    Where they reproduce at least the share `least_share`, the other points are taken to be wrong; below it the axis
    is taken to be something else, and nothing is reported.
    """

    sheet: str
    axis: str
    count: str
    rows: str
    column: str
    least_share: float


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The line x = scale * value + offset under which most points of a cumulative count come out exactly.

    reproduced: how many of `points` do. scales, offsets: between which extremes the line may lie for the same points.
    """

    scale: float
    offset: float
    reproduced: int
    points: int
    scales: tuple[float, float]
    offsets: tuple[float, float]


def cumulative_series(sheets: Sheets, p: CumulativeSeries) -> Checked:
    """Points whose count is another than that of the released rows."""
    sheet, rows = need(sheets, p.sheet), need(sheets, p.rows)
    values = rows.numbers(p.column).dropna().to_numpy()
    note = f"rows of {rows.file} with {p.scale:g} x {p.column} {p.offset:+g} up to here"
    return _points(sheet, p.axis, p.count, values, (p.scale, p.offset), note)


def derived_axis(sheets: Sheets, p: DerivedAxis) -> Checked:
    """Points that do not come out under the line that reproduces most of the others."""
    sheet, rows = need(sheets, p.sheet), need(sheets, p.rows)
    x, y = sheet.numbers(p.axis), sheet.numbers(p.count)
    known = x.notna() & y.notna()
    values = rows.numbers(p.column).dropna().to_numpy()
    axis = best_axis(x[known].to_numpy(), y[known].to_numpy(), values)
    if axis is None or axis.reproduced < p.least_share * axis.points:
        return Checked(compared=int(known.sum()), inconsistencies=())
    note = (
        f"rows of {rows.file} with {axis.scale:.6g} x {p.column} {axis.offset:+.6g} up to here; "
        f"this line reproduces {axis.reproduced} of {axis.points} points"
    )
    return _points(sheet, p.axis, p.count, values, (axis.scale, axis.offset), note)


def best_axis(x: ArrayLike, count: ArrayLike, values: ArrayLike) -> Axis | None:
    """The rising line from `values` [m] to an axis that best explains `count` [p], cumulative at `x` [p].

    A point (x, c) comes out exactly if the c-th smallest value lies at or below x on the axis and the next one above
    it: two half planes of (scale, offset). The region in most of them has its corners among the crossings of their
    edges, so all crossings are tried, and the middle of the best region is returned. None where no region is bounded.
    """
    x_p, count_p, values_m = (np.asarray(one, dtype=np.float64) for one in (x, count, values))
    assert x_p.shape == count_p.shape
    if not len(x_p) or not len(values_m):
        return None
    ordered = np.concatenate([[-np.inf], np.sort(values_m), [np.inf]])
    possible = (count_p >= 0) & (count_p <= len(values_m)) & (count_p == np.floor(count_p))
    positions = np.where(possible, count_p, 0).astype(np.int64)
    low_p, high_p = ordered[positions], ordered[positions + 1]
    corners = _corners(np.concatenate([low_p[possible], high_p[possible]]), np.tile(x_p[possible], 2))
    if not len(corners):
        return None
    hits = possible & _hits(corners, x_p, low_p, high_p, CLOSED * (1 + np.abs(x_p).max()))
    best: Axis | None = None
    patterns, which = np.unique(hits, axis=0, return_inverse=True)
    for pattern in np.argsort(-patterns.sum(axis=1), kind="stable"):
        if best is not None and patterns[pattern].sum() <= best.reproduced:
            break
        region = corners[which.ravel() == pattern]
        middle = region.mean(axis=0)
        reproduced = int((possible & _hits(middle[None], x_p, low_p, high_p, 0.0)).sum())
        if best is None or reproduced > best.reproduced:
            best = _axis(middle, reproduced, len(x_p), region)
    return best


def _axis(middle: Floats, reproduced: int, points: int, region: Floats) -> Axis:
    low, high = region.min(axis=0), region.max(axis=0)
    return Axis(
        scale=float(middle[0]),
        offset=float(middle[1]),
        reproduced=reproduced,
        points=points,
        scales=(float(low[0]), float(high[0])),
        offsets=(float(low[1]), float(high[1])),
    )


def _corners(values: Floats, x: Floats) -> Floats:
    """[c, 2] (scale, offset) at which two of the edges value * scale + offset = x cross, for a positive scale."""
    finite = np.isfinite(values)
    values, x = values[finite], x[finite]
    one, other = np.triu_indices(len(values), k=1)
    step = values[other] - values[one]
    apart = step != 0
    scale = (x[other] - x[one])[apart] / step[apart]
    offset = x[one][apart] - scale * values[one][apart]
    rising = scale > 0
    return np.unique(np.stack([scale[rising], offset[rising]], axis=1), axis=0)


def _hits(
    lines: Floats,
    x: Floats,
    low: Floats,
    high: Floats,
    slack: float,
) -> NDArray[np.bool_]:
    """[lines, points] whether the last value counted lies at or below x, and the first not counted above it."""
    scale, offset = lines[:, :1], lines[:, 1:]
    below = scale * low + offset <= x + slack
    above = scale * high + offset >= x - slack if slack else scale * high + offset > x
    return np.asarray(below & above)


def _points(sheet: Sheet, axis: str, count: str, values: Floats, line: tuple[float, float], note: str) -> Checked:
    x, y = sheet.numbers(axis), sheet.numbers(count)
    known = x.notna() & y.notna()
    placed = np.sort(line[0] * values + line[1])
    expected = np.searchsorted(placed, x[known].to_numpy(), side="right")
    found = [
        at(sheet, row, count, kind="series", recomputed=str(number), note=note)
        for row, number in zip(y.index[known], expected, strict=True)
        if y[row] != number
    ]
    return Checked(compared=int(known.sum()), inconsistencies=tuple(found))
