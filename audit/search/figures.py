"""Figures of a search beside its tree: trend, sizes, outcomes, discoveries. Nothing is estimated here.

Series are told apart by marker and line as well as by colour (Okabe-Ito), so figures read in grey.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from audit.figures import BAND, DASHES, INK, MUTED, SERIES, shown, styled
from audit.search.evidence import KEPT, SCORED, START, TERMS

TERM_STYLE = dict(zip(TERMS, (("o", SERIES[0], "-"), ("s", SERIES[1], "--"), ("^", SERIES[2], "-.")), strict=True))
SCORED_STYLE = {  # marker, colour, filled
    "start": ("D", INK, True),
    "kept run": ("o", SERIES[0], True),
    "trained, not kept": ("s", SERIES[1], False),
}
FAILED_MARKERS = "x+1234"
MOST_FAILURES = 5  # kinds of failure with a mark of their own
UNITS = ((600.0, 1.0, "seconds"), (7200.0, 60.0, "minutes"), (np.inf, 3600.0, "hours"))  # up to, seconds in one, name


@styled
def trend(table: pd.DataFrame, baselines: pd.DataFrame, *, measure: str, pool: int) -> Figure:
    """Fitness, its terms and the honest loss of every experiment against its number, in three panels.

    table: number, outcome, fitness, running_best, pool_mean, loss_term, benchmark_term, judge_term, honest_loss.
    baselines: indexed by name; seeds, honest_loss (mean), seed_sd (NaN: not known). Loss in nats per token.
    """
    figure = Figure(figsize=(8.6, 8.4), layout="constrained")
    fitness, terms, loss = figure.subplots(3, 1, sharex=True, height_ratios=(1.15, 1, 1.35))
    ranked = table.dropna(subset=["fitness"])
    fitness.plot(ranked["number"], ranked["fitness"], "o", ms=3.6, color=SERIES[0], mew=0, alpha=0.75, label="run")
    fitness.plot(table["number"], table["running_best"], color=INK, lw=1.5, drawstyle="steps-post", label="best so far")
    fitness.plot(table["number"], table["pool_mean"], color=SERIES[1], ls="--", lw=1.5, drawstyle="steps-post",
                 label=f"mean of the best {pool} so far")  # fmt: skip
    fitness.set_ylabel(measure)
    for term, (marker, colour, dash) in TERM_STYLE.items():
        _term(terms, table["number"], table[f"{term}_term"], marker, colour, dash, f"{term} term")
    terms.set_ylabel("terms of the fitness\n(line: running mean)")
    terms.set_ylim(-0.03, 1.03)
    _loss_panel(loss, table, baselines)
    _numbers(loss, table)
    for axes in (fitness, terms, loss):
        axes.grid(color="#efefef", lw=0.7)
        axes.set_axisbelow(True)
        if handles := axes.get_legend_handles_labels()[0]:
            axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
        sns.despine(ax=axes)
    return figure


def _numbers(axes: Axes, table: pd.DataFrame) -> None:
    """The axis of experiments, failures included."""
    last = float(table["number"].max())
    axes.set_xlim(-0.5 - 0.015 * last, last + 0.5 + 0.015 * last)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("experiment (in the order of the search)")


def _term(
    axes: Axes, numbers: pd.Series[int], values: pd.Series[float], marker: str, colour: str, dash: str, label: str
) -> None:
    """Dots and the mean of about a tenth of the runs around each."""
    present = values.notna()
    if not present.any():
        return
    x, y = numbers[present], values[present]
    width = max(3, len(y) // 10)
    axes.plot(x, y, marker, ms=2.8, color=colour, mew=0, alpha=0.35)
    axes.plot(x, y.rolling(width, center=True, min_periods=1).mean(), color=colour, ls=dash, lw=1.6, label=label)


def _loss_panel(axes: Axes, table: pd.DataFrame, baselines: pd.DataFrame) -> None:
    """Honest losses; runs far above the rest are triangles at the edge, failures stand on top of the panel."""
    scored = table[table["outcome"].isin(SCORED)]
    _baseline_bands(axes, baselines)
    spread = baselines["seed_sd"].fillna(0.0)
    edges = [*(baselines["honest_loss"] - spread), *(baselines["honest_loss"] + spread)]
    low = float(min(*edges, scored["honest_loss"].min()))
    high = float(max(*edges, scored["honest_loss"].quantile(0.9)))
    margin = 0.08 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    top = axes.get_ylim()[1]
    for label, (marker, colour, filled) in SCORED_STYLE.items():
        here = scored[_group(scored) == label]
        if here.empty:
            continue
        inside = here["honest_loss"] <= top
        style: Any = {"lw": 0, "ms": 4, "color": colour, "mfc": colour if filled else "white", "mew": 1.0, "zorder": 3}
        axes.plot(here.loc[inside, "number"], here.loc[inside, "honest_loss"], marker, label=label, **style)
        if not inside.all():
            far = here.loc[~inside, "number"]
            axes.plot(far, np.full(len(far), top), "^", clip_on=False, label=f"{label}, above the axis", **style)
    _failures(axes, table[~table["outcome"].isin(SCORED)])
    axes.set_ylabel("honest validation loss\n(nats per token)")


def _group(table: pd.DataFrame) -> pd.Series[str]:
    """Key of `SCORED_STYLE` of every row with a score."""
    names = {KEPT: "kept run", START: "start"}
    return table["outcome"].map(lambda what: names.get(what, "trained, not kept"))


def _baseline_bands(axes: Axes, baselines: pd.DataFrame) -> None:
    for place, (name, row) in enumerate(baselines.iterrows()):
        mean, sd = row["honest_loss"], row["seed_sd"]
        if np.isfinite(sd):
            axes.axhspan(mean - sd, mean + sd, color=BAND, lw=0, zorder=0)
        known = f", ±1 seed SD, n = {int(row['seeds'])}" if np.isfinite(sd) else f", n = {int(row['seeds'])}"
        axes.axhline(
            mean, color=MUTED, lw=1.1, ls=DASHES[place % len(DASHES)], zorder=1, label=f"{shown(str(name))}{known}"
        )


def _failures(axes: Axes, failed: pd.DataFrame) -> None:
    """A mark above the panel for every experiment without a score, by what it came to; rare kinds share one."""
    common = list(failed["outcome"].value_counts().index[:MOST_FAILURES])
    kinds = failed["outcome"].where(failed["outcome"].isin(common), "other failure")
    for place, (kind, rows) in enumerate(failed.groupby(kinds)):
        axes.plot(rows["number"], np.full(len(rows), 1.04), FAILED_MARKERS[place], transform=axes.get_xaxis_transform(),
                  clip_on=False, ms=5, mew=1.1, color=MUTED, lw=0, label=str(kind).replace("_", " "))  # fmt: skip


@styled
def sizes(table: pd.DataFrame, baselines: pd.DataFrame) -> Figure:
    """Parameters and training FLOPs of every run with a score against its number; kept and discarded ones.

    table: number, outcome, parameters, flops, fitness, running_best. baselines: indexed by name; parameters, flops.
    """
    names = [name for name in ("parameters", "flops") if table[name].notna().any()]
    titles = {"parameters": "parameters", "flops": "training compute (FLOPs)"}
    figure = Figure(figsize=(8.6, 0.6 + 2.3 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    scored = table[table["outcome"].isin(SCORED)]
    bests = table[table["fitness"] >= table["running_best"]]
    for axes, name in zip(grid, names, strict=True):
        for label, (marker, colour, filled) in SCORED_STYLE.items():
            here = scored[_group(scored) == label]
            axes.plot(here["number"], here[name], marker, ms=4, lw=0, color=colour, mfc=colour if filled else "white")
        axes.plot(bests["number"], bests[name], color=INK, lw=1.4, marker=".", ms=5, drawstyle="steps-post")
        for place, (_, value) in enumerate(baselines[name].dropna().items()):
            axes.axhline(value, color=MUTED, lw=1.0, ls=DASHES[place % len(DASHES)], zorder=0)
        axes.set_ylabel(titles[name])
        axes.ticklabel_format(axis="y", useMathText=False, style="sci", scilimits=(-3, 4))
        axes.grid(color="#efefef", lw=0.7)
        sns.despine(ax=axes)
    _numbers(grid[-1], table)
    handles = [
        Line2D([], [], lw=0, marker=marker, color=colour, mfc=colour if filled else "white", label=label)
        for label, (marker, colour, filled) in SCORED_STYLE.items()
        if (_group(scored) == label).any()
    ]
    handles.append(Line2D([], [], color=INK, lw=1.4, marker=".", ms=7, label="fittest so far"))
    handles += [Line2D([], [], color=MUTED, ls=DASHES[place % len(DASHES)], label=shown(str(name)))
                for place, name in enumerate(baselines[names[0]].dropna().index)]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=4, frameon=False)
    return figure


@styled
def outcomes(table: pd.DataFrame) -> Figure:
    """What became of every version of a program, first proposals and repairs apart, and of every experiment.

    table: of (version or experiment), outcome, propose, repair, count.
    """
    parts = [(of, table[table["of"] == of]) for of in ("version", "experiment") if (table["of"] == of).any()]
    lengths = [len(rows) for _, rows in parts]
    figure = Figure(figsize=(7.6, 0.9 + 0.28 * sum(lengths) + 0.45 * len(parts)), layout="constrained")
    grid = figure.subplots(len(parts), 1, squeeze=False, height_ratios=lengths)[:, 0]
    for axes, (of, rows) in zip(grid, parts, strict=True):
        places = np.arange(len(rows))
        if of == "version":
            style: Any = {"edgecolor": "white", "lw": 0.5}
            axes.barh(places, rows["propose"], color=SERIES[0], label="proposed", **style)
            axes.barh(
                places, rows["repair"], left=rows["propose"], color=SERIES[5], hatch="////", label="repaired", **style
            )
            if rows["repair"].any():
                axes.legend(frameon=False, loc="lower right")
        else:
            colours = [SERIES[0] if what == KEPT else "#9a9a9a" for what in rows["outcome"]]
            axes.barh(places, rows["count"], color=colours)
        _count_bars(axes, rows["outcome"], rows["count"])
        axes.set_title(
            f"{'versions of programs' if of == 'version' else 'experiments'} ({rows['count'].sum()})", loc="left"
        )
    grid[-1].set_xlabel("count")
    return figure


def _count_bars(axes: Axes, names: Sequence[str], counts: pd.Series[int]) -> None:
    for place, count in enumerate(counts):
        axes.annotate(f"{count}", (count, place), xytext=(4, 0), textcoords="offset points", va="center", size=8.5)
    axes.set_yticks(range(len(counts)), [name.replace("_", " ") for name in names])
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.margins(x=0.09)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", color="#efefef", lw=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    sns.despine(ax=axes, left=True)


@styled
def discoveries(table: pd.DataFrame, *, reference: str) -> Figure:
    """Cumulative discoveries against device time, two definitions in two panels, and what noise alone would bring.

    table: compute (device seconds so far), beats_baseline, best_so_far, and both with _by_luck.
    """
    total = float(table["compute"].iloc[-1])
    _, seconds, unit = next(choice for choice in UNITS if total <= choice[0])
    figure = Figure(figsize=(8.6, 3.5), layout="constrained")
    titles = {"beats_baseline": f"below the mean of {shown(reference)}", "best_so_far": "the best so far among them"}
    grid = figure.subplots(1, 2, sharex=True)
    start = np.concatenate([[0.0], table["compute"] / seconds])
    for axes, (name, title), colour in zip(grid, titles.items(), SERIES, strict=False):
        counted, luck = (np.concatenate([[0.0], table[column]]) for column in (name, f"{name}_by_luck"))
        axes.plot(start, counted, color=colour, lw=1.7, drawstyle="steps-post", label="counted (one seed each)")
        axes.plot(start, luck, color=INK, lw=1.2, ls=":", label=f"expected of copies of {shown(reference)}")
        axes.set_title(title)
        axes.set_xlabel(f"training and benchmark time spent ({unit} of device time)")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, loc="upper left")
        axes.grid(color="#efefef", lw=0.7)
        sns.despine(ax=axes)
    grid[0].set_ylabel("runs so far")
    return figure
