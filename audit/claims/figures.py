"""Figures of a paper's claims, drawn from the rows behind them; nothing is estimated here but pointwise ranges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from audit.claims.outcome import Outcome
from audit.figures import BAND, INK, MUTED, SERIES, VERDICT_STYLE, shown, styled
from replication.settings import require

Outcomes = Mapping[str, Outcome]
CAPTIONS = {
    "means": (
        "Differences of mean accuracy with intervals that hold simultaneously for all pairings shown; their width is "
        "the sampling of test items alone. Filled marks: settled after Holm's correction, which can settle a pairing "
        "whose simultaneous interval just holds 0; open marks: undecided."
    ),
    "cumulative": (
        "The published curve, and where it would lie, point by point, in 95% of searches with as many finds at a "
        "constant rate. Each point is judged alone, so that some outside the band are expected."
    ),
    "transfer": (
        "Each dot is a published program, run once at either scale; lines are the medians. The 10 best at the first "
        "scale are filled."
    ),
}
BEST = 10
FAR = 5.0  # interquartile ranges from the median


def draw(outcomes: Outcomes, wanted: Mapping[str, Sequence[str]]) -> dict[str, Figure]:
    """The figures that the registry asks for (figure -> ids of claims or measurements), where their rows are there."""
    drawn = {}
    for name, ids in wanted.items():
        require(name in FIGURES, f"claims.figures.{name}: no such figure (known: {', '.join(FIGURES)})")
        for identity in ids:
            require(identity in outcomes, f"claims.figures.{name}: {identity!r} is no claim or measurement")
        asked = [outcomes[identity] for identity in ids]
        rows = [outcome.rows for outcome in asked if outcome.rows is not None and len(outcome.rows)]
        if rows:
            drawn[name] = FIGURES[name](rows, asked[0].unit or "")
    return drawn


@styled
def means(rows: Sequence[pd.DataFrame], unit: str) -> Figure:
    """One panel a baseline, one line a candidate. rows[0]: columns candidate baseline difference low high outcome."""
    frame = rows[0]
    baselines = frame.sort_values("baseline_row")["baseline"].drop_duplicates().tolist()
    order = frame.groupby("candidate")["difference"].mean().sort_values().index.tolist()
    figure = Figure(figsize=(3.1 * len(baselines), 1.3 + 0.34 * len(order)), layout="constrained")
    panels = figure.subplots(1, len(baselines), sharex=True, sharey=True, squeeze=False)[0]
    for axes, baseline in zip(panels, baselines, strict=True):
        here = frame[frame["baseline"] == baseline].set_index("candidate")
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        for height, candidate in enumerate(order):
            row = here.loc[candidate]
            # A larger accuracy lies to the right, so the triangles of the losses are turned round.
            marker, colour, filled = VERDICT_STYLE[str(row["outcome"])]
            marker = {"<": ">", ">": "<"}.get(marker, marker)
            axes.plot([row["low"], row["high"]], [height, height], color=colour, linewidth=1.4)
            face = colour if filled else "white"
            axes.plot(row["difference"], height, marker, color=colour, markerfacecolor=face, markersize=6)
        axes.set_title(f"against {shown(baseline)}", fontsize=9)
        axes.set_yticks(range(len(order)), [shown(name) for name in order])
    figure.supxlabel(f"difference ({unit}; right is better)", fontsize=9)
    return figure


@styled
def cumulative(rows: Sequence[pd.DataFrame], unit: str) -> Figure:
    """A curve of cumulative counts. rows[0]: its last two columns are the axis and the count."""
    del unit
    frame = rows[0]
    axis, counts = (str(column) for column in frame.columns[-2:])
    x, y = frame[axis].to_numpy(dtype=np.float64), frame[counts].to_numpy(dtype=np.float64)
    total = round(float(y[-1]))
    share = (x - x[0]) / (x[-1] - x[0])
    low, high = stats.binom.interval(0.95, total, share)
    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(x, low, high, color=BAND, linewidth=0, label="constant rate, 95% point by point")
    axes.plot(x, total * share, color=MUTED, linestyle="--", linewidth=1.0, label="constant rate")
    axes.plot(x, y, color=SERIES[0], linewidth=1.2, marker="o", markersize=3.2, label="published")
    axes.set_xlabel(f"{axis} (as published)")
    axes.set_ylabel("finds so far")
    axes.legend(frameon=False, loc="upper left")
    return figure


@styled
def transfer(rows: Sequence[pd.DataFrame], unit: str) -> Figure:
    """One panel a pair of columns: the second and third of each frame, losses (lower is better) or scores."""
    del unit
    figure = Figure(figsize=(4.3 * len(rows), 3.7), layout="constrained")
    for axes, frame in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, strict=True):
        first, second = (str(column) for column in frame.columns[1:3])
        lower_is_better = "loss" in first
        best = frame[first].rank(ascending=lower_is_better, method="first") <= BEST
        for chosen, face in ((~best, "none"), (best, SERIES[0])):
            part = frame[chosen]
            axes.plot(part[first], part[second], "o", color=SERIES[0], markerfacecolor=face, markersize=4)
        _leave_out_far(axes, frame[first], frame[second])
        axes.axvline(frame[first].median(), color=MUTED, linewidth=0.8, linestyle="--")
        axes.axhline(frame[second].median(), color=MUTED, linewidth=0.8, linestyle="--")
        better = "lower is better" if lower_is_better else "higher is better"
        axes.set_xlabel(f"{first} ({better})")
        axes.set_ylabel(f"{second} ({better})")
    handles = [
        Line2D([], [], marker="o", linestyle="", color=SERIES[0], label=f"{BEST} best at the first scale"),
        Line2D([], [], marker="o", linestyle="", color=SERIES[0], markerfacecolor="none", label="the others"),
        Line2D([], [], linestyle="--", color=MUTED, label="median"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, labelcolor=INK)
    return figure


def _leave_out_far(axes: Axes, x: pd.Series[float], y: pd.Series[float]) -> None:
    """Limits without values further from the median than FAR interquartile ranges; a line says how many are beyond."""
    beyond = np.zeros(len(x), dtype=bool)
    for values, limit in ((x, axes.set_xlim), (y, axes.set_ylim)):
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
        far = (np.abs(values - middle) > FAR * (high - low)).to_numpy()
        near = values[~far]
        margin = 0.05 * (near.max() - near.min())
        limit(near.min() - margin, near.max() + margin)
        beyond |= far
    if beyond.any():
        at = "; ".join(f"{a:g}, {b:g}" for a, b in zip(x[beyond], y[beyond], strict=True))
        axes.set_title(f"not shown: {at}", fontsize=8, color=MUTED, loc="right")


FIGURES: dict[str, Callable[[Sequence[pd.DataFrame], str], Figure]] = {
    "means": means,
    "cumulative": cumulative,
    "transfer": transfer,
}
