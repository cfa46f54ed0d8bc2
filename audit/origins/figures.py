"""Figures of the audit of origins, drawn from tidy frames; nothing is estimated here.

Series are told apart by marker as well as by colour (Okabe-Ito), so figures read in grey.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from audit.figures import DASHES, MUTED, SERIES, shown, styled

MARKERS = "osD^vP"


@styled
def shares(table: pd.DataFrame, *, xlabel: str) -> Figure:
    """Shares with intervals, one panel a source, one group of rows a channel, one mark a series.

    table: panel, channel, series, share, low, high (from 0 to 1; NaN limits: none).
    """
    panels = list(table["panel"].unique())
    figure = Figure(figsize=(1.4 + 3.6 * len(panels), 1.5 + 0.9 * table["channel"].nunique()), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    series = list(table["series"].unique())
    for axes, panel in zip(grid, panels, strict=True):
        here = table[table["panel"] == panel].assign(
            value=lambda t: 100 * t["share"], low=lambda t: 100 * t["low"], high=lambda t: 100 * t["high"]
        )
        _grouped(axes, here, series)
        axes.set_title(panel)
        axes.set_xlim(left=0)
        axes.set_xlabel(xlabel)
    _legend(figure, series)
    return figure


@styled
def differences(table: pd.DataFrame, *, xlabel: str) -> Figure:
    """Differences with intervals, one panel a channel, one row a reading.

    table: channel, reading, difference, low, high (shares; NaN limits: none).
    """
    channels, readings = list(table["channel"].unique()), list(table["reading"].unique())
    figure = Figure(figsize=(2.6 + 2.4 * len(channels), 1.0 + 0.29 * len(readings)), layout="constrained")
    grid = figure.subplots(1, len(channels), squeeze=False, sharey=True, sharex=True)[0]
    for axes, channel in zip(grid, channels, strict=True):
        axes.axvline(0, color=MUTED, lw=0.8, zorder=1)
        here = table[table["channel"] == channel].set_index("reading")
        for y, reading in enumerate(readings):
            if reading in here.index:
                row = here.loc[reading]
                _interval(axes, y, 100 * row["difference"], 100 * row["low"], 100 * row["high"], 0)
        axes.set_title(channel)
        _rows(axes, readings)
    figure.supxlabel(xlabel, fontsize=9)
    return figure


@styled
def lorenz(curves: Mapping[str, ArrayLike]) -> Figure:
    """Lorenz curves: cumulative share of labels against cumulative share of categories, rarest first.

    curves: label -> counts or shares of categories [k], in any order.
    """
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 100], [0, 100], color=MUTED, lw=0.8, ls=":", label="all categories equal")
    for place, (label, counts) in enumerate(curves.items()):
        ordered = np.sort(np.asarray(counts, dtype=np.float64))
        heights = np.concatenate([[0.0], np.cumsum(ordered)]) * 100 / ordered.sum()
        axes.plot(
            np.linspace(0, 100, len(heights)),
            heights,
            color=SERIES[place % len(SERIES)],
            ls=DASHES[place % len(DASHES)],
            lw=1.5,
            label=shown(label),
        )
    axes.set(xlim=(0, 100), ylim=(0, 100))
    axes.set_xlabel("share of categories, rarest first (percent)")
    axes.set_ylabel("share of labels (percent)")
    axes.legend(frameon=False, loc="upper left")
    axes.grid(color="#efefef", lw=0.7)
    sns.despine(ax=axes)
    return figure


@styled
def enrichment(panels: Mapping[str, pd.DataFrame], *, level: float) -> Figure:
    """Odds ratios of categories, gallery against rest, on a log axis; filled where the q-value is small enough.

    panels: title -> component, odds_ratio, low, high, q_value; ends that are 0 or infinite run to the edge.
    """
    rows = max(len(table) for table in panels.values())
    figure = Figure(figsize=(0.6 + 4.6 * len(panels), 1.2 + 0.19 * rows), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12)  # type: ignore[union-attr, call-arg]  # a browser's letters are wider
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, table) in zip(grid, panels.items(), strict=True):
        axes.set_xscale("log")
        axes.axvline(1, color=MUTED, lw=0.8, zorder=1)
        edges = _edges(table)
        for y, row in enumerate(table.itertuples()):
            low, high = np.clip([row.low, row.high], *edges)
            strong = row.q_value <= 1.0 - level
            point = row.odds_ratio if 0.0 < row.odds_ratio < np.inf else np.nan
            _interval(axes, y, point, low, high, int(strong), filled=strong)
        axes.set_xlim(*edges)
        axes.set_title(title)
        axes.set_xlabel("odds ratio, log scale (→ more often in the gallery)")
        _rows(axes, [shown(str(name)) for name in table["component"]])
        axes.tick_params(axis="y", labelsize=7.5)
    names = {f"q ≤ {1 - level:.2g}": (1, True), "else": (0, False)}
    handles = [_handle(place, label, filled) for label, (place, filled) in names.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)
    return figure


@styled
def text_shares(table: pd.DataFrame) -> Figure:
    """Regenerated shares with intervals beside the printed ones, one row a category.

    table: category, printed, share, low, high (from 0 to 1).
    """
    figure = Figure(figsize=(7.4, 1.2 + 0.24 * len(table)), layout="constrained")
    axes = figure.subplots()
    for y, row in enumerate(table.itertuples()):
        _interval(axes, y, 100 * row.share, 100 * row.low, 100 * row.high, 0)
        axes.plot(100 * row.printed, y, MARKERS[2], color=SERIES[1], mfc="white", ms=5, mew=1.2, zorder=4)
    _rows(axes, [shown(str(name)) for name in table["category"]])
    axes.set_xlim(left=0)
    axes.set_xlabel("share of all labels of the gallery (percent)")
    handles = [_handle(0, "labelled again from the texts, with interval", True)]
    handles += [
        Line2D([], [], marker=MARKERS[2], color=SERIES[1], mfc="white", lw=0, ms=5, label="printed in figure 7")
    ]
    axes.legend(handles=handles, frameon=False, loc="lower right")
    return figure


def _edges(table: pd.DataFrame) -> tuple[float, float]:
    """Limits of a log axis that hold every finite end, within a factor of a thousand."""
    ends = table[["odds_ratio", "low", "high"]].to_numpy(dtype=np.float64).ravel()
    ends = ends[np.isfinite(ends) & (ends > 0)]
    return max(ends.min(initial=0.1) / 1.5, 1e-3), min(ends.max(initial=10.0) * 1.5, 1e3)


def _grouped(axes: Axes, table: pd.DataFrame, series: Sequence[str]) -> None:
    """One group of rows a channel; each of the panel's series at its own height, marked by its place in `series`."""
    groups, here = list(table["channel"].unique()), list(table["series"].unique())
    for row in table.itertuples():
        offset = (here.index(row.series) - (len(here) - 1) / 2) * 0.7 / len(here)
        _interval(axes, groups.index(row.channel) + offset, row.value, row.low, row.high, series.index(row.series))
    _rows(axes, groups)


def _interval(axes: Axes, y: float, value: float, low: float, high: float, place: int, *, filled: bool = True) -> None:
    colour = SERIES[place % len(SERIES)]
    if np.isfinite(low) and np.isfinite(high):
        axes.plot([low, high], [y, y], color=colour, lw=1.4, solid_capstyle="butt", zorder=3)
    mark = MARKERS[place % len(MARKERS)]
    axes.plot(value, y, mark, color=colour, ms=5, mfc=colour if filled else "white", mew=1.2, zorder=4)


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), list(labels))
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#efefef", lw=0.7)
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=True)


def _legend(figure: Figure, series: Sequence[str]) -> None:
    handles = [_handle(place, name, True) for place, name in enumerate(series)]
    figure.legend(handles=handles, loc="outside upper center", ncols=2, frameon=False)


def _handle(place: int, label: str, filled: bool) -> Line2D:
    style: Any = {"color": SERIES[place % len(SERIES)], "marker": MARKERS[place % len(MARKERS)]}
    return Line2D([], [], lw=1.4, ms=5, mfc=style["color"] if filled else "white", label=label, **style)
