"""Figures of the threshold audit, drawn from tidy frames; nothing is estimated here.

Series are told apart by marker and line as well as by colour (Okabe-Ito), so figures read in grey.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from audit.figures import DASHES, INK, MUTED, SERIES, shown, styled

STATE_STYLE = {  # what the certificate says -> (marker, colour, filled)
    "leaky": ("s", "#D55E00", True),
    "clean": ("o", "#0072B2", False),
    "unknown": ("x", MUTED, True),
}
GROUP_STYLE = {"leaky": ("#D55E00", "-"), "clean": ("#0072B2", "--"), "all": (INK, "-"), "unknown": (MUTED, ":")}
LINE_MARKERS = "v^<>Ph"
LINEAR = 0.1  # nats per token: gains are drawn linearly up to here, logarithmically beyond where some are far larger


@styled
def roc(corners: pd.DataFrame, rates: pd.DataFrame, *, marked: Sequence[float]) -> Figure:
    """True against false positive rate of the rule "loss more than x below baseline", one panel a source and scale.

    corners: panel, false_positive_rate, true_positive_rate, in order from (0, 0) to (1, 1). rates: panel, threshold
    (share of the baseline's loss), both rates, and their exact intervals as *_low and *_high (NaN: none). Thresholds
    in `marked` are drawn on the curve with their intervals.
    """
    panels = list(corners["panel"].unique())
    figure = Figure(figsize=(0.9 + 3.7 * len(panels), 4.1), layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, panel in zip(grid, panels, strict=True):
        here, marks = corners[corners["panel"] == panel], rates[rates["panel"] == panel]
        axes.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls=":")
        axes.plot(here["false_positive_rate"], here["true_positive_rate"], color=SERIES[0], lw=1.5)
        _roc_marks(axes, marks[marks["threshold"].isin(marked)].sort_values("threshold"))
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axes.set_title(shown(str(panel)))
        axes.set_xlabel("false positive rate\n(share of clean programs discarded)")
        axes.grid(color="#efefef", lw=0.7)
        sns.despine(ax=axes)
    grid[0].set_ylabel("true positive rate\n(share of leaky programs discarded)")
    return figure


def _roc_marks(axes: Axes, marks: pd.DataFrame) -> None:
    """Crosses of exact intervals; thresholds that fall on one point share a label."""
    points = marks.groupby(["false_positive_rate", "true_positive_rate"], sort=False)
    for place, ((x, y), group) in enumerate(points):
        row = group.iloc[0]
        style: Any = {"color": INK, "lw": 0.9, "alpha": 0.75, "zorder": 3}
        axes.plot([row["false_positive_rate_low"], row["false_positive_rate_high"]], [y, y], **style)
        axes.plot([x, x], [row["true_positive_rate_low"], row["true_positive_rate_high"]], **style)
        axes.plot(x, y, "o", ms=5, color=SERIES[1], mec="white", mew=0.7, zorder=4)
        label = ", ".join(f"{100 * threshold:g}%" for threshold in sorted(group["threshold"]))
        offset = (7, -11) if place % 2 == 0 else (7, 5)
        axes.annotate(label, (float(x), float(y)), xytext=offset, textcoords="offset points", size=8, weight="bold")


@styled
def discards(shares: pd.DataFrame, *, headline: float) -> Figure:
    """Share of programs that the rule discards against its threshold, one panel a source and scale.

    shares: panel, group (leaky, clean, unknown or all), threshold, share, low, high (NaN: no interval), n.
    """
    panels = list(shares["panel"].unique())
    lines = -(-len(panels) // 3)
    columns = -(-len(panels) // lines)
    figure = Figure(figsize=(1.0 + 3.0 * columns, 0.7 + 2.5 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes, panel in zip(grid.flat, panels, strict=False):
        here = shares[shares["panel"] == panel]
        axes.axvline(headline, color=MUTED, lw=0.9, ls=":")
        for group, rows in here.groupby("group", sort=False):
            colour, dash = GROUP_STYLE[str(group)]
            rows = rows.sort_values("threshold")
            axes.fill_between(rows["threshold"], rows["low"], rows["high"], color=colour, alpha=0.14, lw=0)
            axes.plot(rows["threshold"], rows["share"], color=colour, ls=dash, lw=1.6, marker=".", ms=5,
                      label=f"{group} (n = {int(rows['n'].iloc[0])})")  # fmt: skip
        axes.set_title(textwrap.fill(str(panel)[:60], 24))
        axes.legend(frameon=False, loc="upper right")
        axes.grid(color="#efefef", lw=0.7)
        sns.despine(ax=axes)
    for above, axes in zip(list(grid.flat)[len(panels) - columns :], list(grid.flat)[len(panels) :], strict=False):
        axes.set_visible(False)
        above.tick_params(labelbottom=True)
    first = grid[0, 0]
    first.set_xscale("log")
    ticks = [t for t in (0.005, 0.01, 0.03, 0.1, 0.3) if _within(t, shares["threshold"])]
    first.set_xticks(ticks)
    first.xaxis.set_minor_locator(NullLocator())
    first.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    first.set_ylim(-0.03, 1.03)
    first.yaxis.set_major_formatter(PercentFormatter(1))
    figure.supxlabel(f"threshold: loss below the baseline’s by more (dotted: {100 * headline:g}%)", fontsize=9)
    figure.supylabel("programs discarded", fontsize=9)
    return figure


def _within(value: float, values: pd.Series) -> bool:
    return bool(values.min() * 0.99 <= value <= values.max() * 1.01)


@styled
def leak_gain(points: pd.DataFrame, lines: pd.DataFrame, *, headline: float) -> Figure:
    """Leak gain (honest minus ordinary loss) against loss gain (baseline minus ordinary), one panel a scale.

    points: scale, name, state (leaky, clean, unknown), loss_gain, leak_gain, each with *_low and *_high (range over
    seeds), baseline_loss (mean over seeds), all in nats per token. lines: the same columns and strength, state dropped;
    the steps of one family of graded leaks are joined. headline: share of the baseline's loss at which the rule acts.
    """
    scales = list(dict.fromkeys([*points["scale"], *lines["scale"]]))
    figure = Figure(figsize=(1.2 + 4.0 * len(scales), 4.4), layout="constrained")
    grid = figure.subplots(1, len(scales), squeeze=False, sharey=True, sharex=True)[0]
    families = list(lines["name"].unique())
    reach = float(np.nanmax(pd.concat([points, lines])[["loss_gain_high", "leak_gain_high"]].to_numpy(dtype=float)))
    for axes, scale in zip(grid, scales, strict=True):
        here, graded = points[points["scale"] == scale], lines[lines["scale"] == scale]
        for state, rows in here.groupby("state", sort=False):
            marker, colour, filled = STATE_STYLE[str(state)]
            _cloud(axes, rows, marker, colour, filled)
        for i, family in enumerate(families):
            rows = graded[graded["name"] == family].sort_values("strength")
            colour, marker = SERIES[(i + 2) % len(SERIES)], LINE_MARKERS[i % len(LINE_MARKERS)]
            axes.plot(rows["loss_gain"], rows["leak_gain"], color=colour, ls=DASHES[i % len(DASHES)], lw=1.2, zorder=2)
            _cloud(axes, rows, marker, colour, filled=True)
        everything = pd.concat([here, graded])
        _reference_lines(axes, everything, reach, headline)
        axes.set_title(scale)
        axes.set_xlabel("loss gain: baseline − ordinary loss (nats per token)")
        if reach > 10 * LINEAR:  # weak leaks must not vanish beside strong ones
            _logarithmic_far_out(axes, reach)
        axes.grid(color="#efefef", lw=0.7)
        sns.despine(ax=axes)
    grid[0].set_ylabel("leak gain: honest − ordinary loss (nats per token)")
    handles = _state_handles(points["state"].unique().tolist(), families)
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _cloud(axes: Axes, rows: pd.DataFrame, marker: str, colour: str, filled: bool) -> None:
    x, y = rows["loss_gain"].to_numpy(dtype=float), rows["leak_gain"].to_numpy(dtype=float)
    limits = [rows[[f"{name}_low", f"{name}_high"]].to_numpy(dtype=float).T for name in ("loss_gain", "leak_gain")]
    bars = [np.abs(limit - middle) for limit, middle in zip(limits, (x, y), strict=True)]
    axes.errorbar(x, y, xerr=bars[0], yerr=bars[1], fmt="none", ecolor=colour, elinewidth=0.9, alpha=0.6, zorder=2)
    axes.plot(x, y, marker, color=colour, mfc=colour if filled else "white", ms=4.6, mew=1.1, lw=0, zorder=3)


def _logarithmic_far_out(axes: Axes, reach: float) -> None:
    ticks = [0.0, *(value for value in (0.1, 0.3, 1.0, 3.0, 10.0) if value <= reach)]
    axes.set_xscale("symlog", linthresh=LINEAR)
    axes.set_yscale("symlog", linthresh=LINEAR)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([-0.1, *ticks] if axis is axes.xaxis else ticks)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
        axis.set_minor_locator(NullLocator())


def _reference_lines(axes: Axes, everything: pd.DataFrame, reach: float, headline: float) -> None:
    """Where the whole gain is leak, where there is no leak, and where the rule acts."""
    along = np.linspace(0, reach, 200)
    axes.plot(along, along, color=MUTED, lw=0.8, ls=":", zorder=1)
    axes.axhline(0, color=MUTED, lw=0.8, zorder=1)
    act = headline * float(everything["baseline_loss"].mean())
    axes.axvline(act, color=INK, lw=0.9, ls="--", zorder=1)
    axes.annotate(f" −{100 * headline:g}%: discarded →", (act, 1), xycoords=("data", "axes fraction"), size=7.5,
                  va="top", color=INK)  # fmt: skip


def _state_handles(states: Sequence[str], families: Sequence[str]) -> list[Line2D]:
    handles = []
    for state in (state for state in STATE_STYLE if state in states):
        marker, colour, filled = STATE_STYLE[state]
        face = colour if filled else "white"
        handles.append(Line2D([], [], lw=0, marker=marker, color=colour, mfc=face, ms=5.5, mew=1.1, label=state))
    for i, family in enumerate(families):
        colour = SERIES[(i + 2) % len(SERIES)]
        marker, dash = LINE_MARKERS[i % len(LINE_MARKERS)], DASHES[i % len(DASHES)]
        handles.append(
            Line2D([], [], color=colour, ls=dash, lw=1.2, ms=5.5, marker=marker, label=f"{shown(family)}, graded")
        )
    handles.append(Line2D([], [], color=MUTED, ls=":", lw=1, label="all of the gain is leak"))
    return handles
