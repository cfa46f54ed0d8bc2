"""The figure of a single-seed log: its progress with the honest band around it, and the noise each keep can bear."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from audit.figures import INK, MUTED, SERIES, styled

MOST_DOTS = 1500
OUTCOME_STYLE = {  # outcome of a keep -> (marker, colour, filled)
    "real": ("^", "#0072B2", True),
    "open": ("o", "#D55E00", False),
    "noise": ("s", MUTED, True),
    "no_gain": ("x", MUTED, True),
}
HONEST, NULL = SERIES[5], "#b8b8b8"


@styled
def progress(proposals: pd.DataFrame, bands: pd.DataFrame, noise: pd.Series, *, metric: str, direction: str) -> Figure:
    """Above: every proposal, the keeps, the best kept so far, and two bands. Below: break-even noise of each keep.

    proposals: row, value, kept, running_best, outcome ("" for the start and for what was not kept), break_even_sd.
    bands: row, honest_low, honest_high (where the true value of the best so far lies), null_low, null_high (where noise
    alone would have brought the best so far); empty without a measure of noise. noise: sd, low, high of the noise SD
    and is_limit; NaN where unknown. Values in `metric`, whose better `direction` is "lower" or "higher".
    """
    figure = Figure(figsize=(8.2, 6.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1.15))
    _bands(above, bands)
    low, high = _window(proposals, bands, direction)
    _dots(above, proposals, low, high)
    above.plot(proposals["row"], proposals["running_best"], color=INK, lw=1.3, drawstyle="steps-post", zorder=3,
               label="best kept so far")  # fmt: skip
    _keeps(above, proposals, "value", legend=True)
    margin = 0.04 * (high - low)
    above.set_ylim(low - margin, high + margin)
    above.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.6g}"))
    above.set_ylabel(f"{metric} ({direction} is better)")
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    _noise_panel(below, proposals, noise, metric)
    for axes in (above, below):
        axes.grid(color="#efefef", lw=0.7)
        axes.set_axisbelow(True)
        sns.despine(ax=axes)
    return figure


def _bands(axes: Axes, bands: pd.DataFrame) -> None:
    if bands.empty:
        return
    axes.fill_between(bands["row"], bands["null_low"], bands["null_high"], step="post", facecolor="none", lw=0,
                      edgecolor=NULL, hatch="////", zorder=0, label="best so far, if nothing but noise")  # fmt: skip
    axes.fill_between(bands["row"], bands["honest_low"], bands["honest_high"], step="post", color=HONEST, alpha=0.35,
                      lw=0, zorder=1, label="true value of the best so far")  # fmt: skip


def _window(proposals: pd.DataFrame, bands: pd.DataFrame, direction: str) -> tuple[float, float]:
    """Limits of the axis: all keeps, the bands and nine tenths of the rest; disasters must not squash them."""
    kept = proposals.loc[proposals["kept"], "value"]
    cut = proposals["value"].quantile(0.9 if direction == "lower" else 0.1)
    reach = [] if bands.empty else bands.drop(columns="row").to_numpy(dtype=np.float64).ravel()
    values = np.array([*kept, cut, *reach], dtype=np.float64)
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 1.0, high + 1.0)


def _dots(axes: Axes, proposals: pd.DataFrame, low: float, high: float) -> None:
    """Proposals that were not kept; those beyond the axis are triangles at its edge."""
    others = proposals[~proposals["kept"]]
    every = -(-len(others) // MOST_DOTS) or 1
    others = others.iloc[::every]
    label = "not kept" if every == 1 else f"not kept (one in {every})"
    inside = others["value"].between(low, high)
    style: Any = {"lw": 0, "color": MUTED, "alpha": 0.8, "mew": 0, "zorder": 2}
    axes.plot(others.loc[inside, "row"], others.loc[inside, "value"], ".", ms=6, label=label, **style)
    for beyond, marker, edge in ((others["value"] > high, "^", high), (others["value"] < low, "v", low)):
        if beyond.any():
            rows = others.loc[beyond, "row"]
            axes.plot(rows, np.full(len(rows), edge), marker, ms=4.5, label="not kept, beyond the axis", **style)


def _keeps(axes: Axes, proposals: pd.DataFrame, column: str, *, legend: bool) -> None:
    kept = proposals[proposals["kept"]]
    start = kept[kept["outcome"] == ""].iloc[:1]
    if legend:
        axes.plot(start["row"], start[column], "D", ms=5.5, color=INK, lw=0, zorder=5, label="start")
    for outcome, (marker, colour, filled) in OUTCOME_STYLE.items():
        here = kept[kept["outcome"] == outcome]
        if here.empty:
            continue
        label = f"kept: {outcome.replace('_', ' ')} ({len(here)})" if legend else None
        axes.plot(here["row"], here[column], marker, ms=7, lw=0, color=colour, mfc=colour if filled else "white",
                  mew=1.5, zorder=5, label=label)  # fmt: skip


def _noise_panel(axes: Axes, proposals: pd.DataFrame, noise: pd.Series, metric: str) -> None:
    """A keep is significant where its mark lies above the noise of a run."""
    gained = proposals[proposals["break_even_sd"] > 0]
    axes.set_yscale("log")
    axes.vlines(
        gained.loc[gained["kept"], "row"], 0, gained.loc[gained["kept"], "break_even_sd"], color="#cfcfcf", lw=2
    )
    _keeps(axes, gained, "break_even_sd", legend=False)
    values = [*gained.loc[gained["kept"], "break_even_sd"]]
    if np.isfinite(noise["sd"]):
        words = "largest noise SD that the log allows" if noise["is_limit"] else "noise SD of a run"
        if not noise["is_limit"] and np.isfinite(noise["low"]):
            axes.axhspan(noise["low"], noise["high"], color=HONEST, alpha=0.3, lw=0, zorder=0)
        axes.axhline(noise["sd"], color=INK, lw=1, ls="--", zorder=1)
        axes.annotate(words, (1, noise["sd"]), xycoords=("axes fraction", "data"), xytext=(0, 3), ha="right", size=8,
                      textcoords="offset points")  # fmt: skip
        values.append(noise["sd"])
    if values:
        axes.set_ylim(min(values) / 2.5, max(values) * 3.5)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel(f"noise SD at which\na keep stops being\nsignificant ({metric})")
    axes.set_xlabel("row of the log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
