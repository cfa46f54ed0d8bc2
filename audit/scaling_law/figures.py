"""Figures of the discovery law, drawn from courses and fits; nothing is estimated here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from audit.figures import BAND, DASHES, INK, MUTED, SERIES, styled
from audit.scaling_law.law_findings import LAW_WORDS
from audit.statistics.estimate import Floats

GRID = "#efefef"
LAW_STYLE = {name: (SERIES[i], (*DASHES, (0, (1, 1)))[i]) for i, name in enumerate(LAW_WORDS)}


@styled
def cumulative(times: Floats, end: float, curves: pd.DataFrame, *, unit: str, level: float) -> Figure:
    """Discoveries so far against compute, one panel a law with its band.

    times: [n]. curves: law, compute, expected, low, high (of runs simulated from the law).
    """
    laws = list(curves["law"].unique())
    figure = Figure(figsize=(8.8, 5.0), layout="constrained")
    grid = figure.subplots(2, 3, sharex=True, sharey=True)
    steps = np.concatenate([[0.0], times, [end]]), np.concatenate([[0], np.arange(1, len(times) + 1), [len(times)]])
    for axes, law in zip(grid.flat, laws, strict=False):
        rows = curves[curves["law"] == law]
        axes.fill_between(rows["compute"], rows["low"], rows["high"], color="#d3dae2", lw=0)
        axes.plot(rows["compute"], rows["expected"], color=LAW_STYLE[law][0], lw=1.6, ls="--")
        axes.plot(*steps, color=INK, lw=1.2, drawstyle="steps-post")
        axes.set_title(LAW_WORDS[law], loc="left")
        _frame(axes)
    legend = grid.flat[5]
    legend.axis("off")
    legend.plot([], [], color=INK, lw=1.2, label="the run")
    legend.plot([], [], color=MUTED, lw=1.6, ls="--", label="law as fitted")
    legend.fill_between([], [], [], color="#d3dae2", label=f"{100 * level:g}% of runs of that law")
    legend.legend(loc="center left", frameon=False)
    for axes in (*grid[1, :2], grid[0, 2]):
        axes.set_xlabel(unit)
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("discoveries so far")
    return figure


@styled
def rate(counts: pd.DataFrame, curves: pd.DataFrame, *, unit: str, level: float) -> Figure:
    """Discoveries per piece of compute with exact Poisson intervals, and the rate of every law.

    counts: start, stop, events, low, high. curves: law, compute, rate (events per piece).
    """
    figure = Figure(figsize=(8.6, 3.6), layout="constrained")
    axes = figure.subplots()
    middle = (counts["start"] + counts["stop"]) / 2
    whiskers = np.abs(counts[["low", "high"]].to_numpy().T - counts["events"].to_numpy())
    axes.errorbar(middle, counts["events"], yerr=whiskers, fmt="o", ms=3.5, color=INK, ecolor="#9a9a9a", elinewidth=1.0,
                  capsize=0, label=f"count, {100 * level:g}% Poisson interval")  # fmt: skip
    for law, rows in curves.groupby("law", sort=False):
        colour, dash = LAW_STYLE[str(law)]
        axes.plot(rows["compute"], rows["rate"], color=colour, ls=dash, lw=1.7, label=LAW_WORDS[str(law)])
    top = 1.08 * float(counts["high"].max())
    axes.set_ylim(-0.03 * top, top)
    axes.set_xlabel(unit)
    axes.set_ylabel(f"discoveries per {counts['stop'].iloc[0] - counts['start'].iloc[0]:.3g} of it")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    _frame(axes)
    return figure


@styled
def r2(observed: float, null: Mapping[str, Floats]) -> Figure:
    """R^2 of the line under each fitted law, one panel a law, and the one observed."""
    figure = Figure(figsize=(6.6, 0.8 + 0.85 * len(null)), layout="constrained")
    grid = figure.subplots(len(null), 1, sharex=True, squeeze=False)[:, 0]
    least = min(observed, *(float(np.quantile(drawn, 0.005)) for drawn in null.values()))
    bins = np.linspace(least, 1.0, 61)
    for axes, (name, drawn) in zip(grid, null.items(), strict=True):
        axes.hist(np.clip(drawn, least, 1.0), bins=bins, histtype="stepfilled", color=LAW_STYLE[name][0], alpha=0.75)
        axes.axvline(observed, color=INK, lw=1.6)
        reached = float((drawn >= observed).mean())
        axes.set_title(f"{LAW_WORDS[name]}: {100 * reached:.0f}% at least as high", loc="left", fontweight="normal")
        axes.set_yticks([])
        sns.despine(ax=axes, left=True)
    grid[-1].set_xlabel("R² of a line through cumulative counts (black: observed)")
    return figure


@styled
def records(flags: Floats, outcomes: Floats, expected: pd.DataFrame, *, level: float) -> Figure:
    """Records so far against the number of outcomes, beside random order.

    flags, outcomes: [n], record or not, and how many outcomes so far. expected: outcomes, mean, low, high.
    """
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(expected["outcomes"], expected["low"], expected["high"], color=BAND, step="post",
                      label=f"{100 * level:g}% of random orders")  # fmt: skip
    axes.plot(expected["outcomes"], expected["mean"], color=MUTED, ls="--", lw=1.4, label="expected in random order")
    axes.plot(outcomes, np.cumsum(flags), color=SERIES[0], lw=1.7, drawstyle="steps-post", label="the run")
    axes.set_xscale("log")
    axes.set_xlabel("outcomes so far (logarithmic)")
    axes.set_ylabel("new bests after the first")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, loc="upper left")
    _frame(axes)
    return figure


@styled
def quality(table: pd.DataFrame, *, unit: str, measure: str, pool: int, baseline: float) -> Figure:
    """Best so far and mean of the best so far against compute, each with the band of random order."""
    figure = Figure(figsize=(8.8, 4.0), layout="constrained")
    grid = figure.subplots(1, 2, sharex=True, sharey=True)
    panels = (("best", "best", "best so far"), ("mean_of_pool", "pool", f"mean of the {pool} best so far"))
    for axes, (column, band, title), colour in zip(grid, panels, SERIES, strict=False):
        axes.fill_between(
            table["compute"], table[f"{band}_low"], table[f"{band}_high"], color=BAND, label="random order"
        )
        axes.plot(table["compute"], table[f"{band}_expected"], color=MUTED, ls="--", lw=1.3, label="expected of it")
        axes.plot(table["compute"], table["mean"], color="#9a9a9a", lw=1.2, ls=":", label="mean of all so far")
        axes.plot(table["compute"], table[column], color=colour, lw=1.8, label=title)
        if np.isfinite(baseline):
            axes.axhline(baseline, color=INK, lw=0.8, label="baseline")
        axes.set_title(title, loc="left")
        axes.set_xlabel(unit)
        _frame(axes)
    grid[0].set_ylabel(measure)
    labelled = dict(pair[::-1] for axes in grid for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    figure.legend(labelled.values(), labelled.keys(), loc="outside upper center", ncols=3, frameon=False)
    return figure


def _frame(axes: Axes) -> None:
    axes.grid(color=GRID, lw=0.7)
    axes.set_axisbelow(True)
    sns.despine(ax=axes)
