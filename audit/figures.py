"""Figures of the rerun audit, drawn from tidy frames; nothing is estimated here beyond means and SDs over seeds.

Every function returns a matplotlib Figure made without pyplot's global state; `svg` turns one into text that is the
same on every call. Verdicts are told apart by shape as well as by colour (Okabe-Ito), so figures read in grey.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullFormatter, ScalarFormatter

P = ParamSpec("P")
INK, MUTED, BAND = "#1a1a1a", "#6b6b6b", "#e3e6ea"
VERDICT_STYLE = {  # outcome -> (marker, colour, filled); the triangles point to the side the difference lies on
    "better": ("<", "#0072B2", True),
    "worse": (">", "#D55E00", True),
    "equivalent": ("s", "#007a5a", True),
    "undecided": ("o", MUTED, False),
}
SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7a6a00", "#1a1a1a")
DASHES = ("-", "--", "-.", ":")
CURVE_POINTS = 60
LABEL_LENGTH = 34


def svg(figure: Figure) -> str:
    """The figure as SVG text: real text, no date, and ids that depend on the drawing alone."""
    buffer = io.StringIO()
    settings: Any = {"svg.hashsalt": "archaudit", "svg.fonttype": "none"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # The browser has glyphs for scripts that matplotlib's own font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # a second layout pass would move things by a hair
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def shown(label: str) -> str:
    """`label` cut to a length that a figure can hold."""
    return label if len(label) <= LABEL_LENGTH else label[: LABEL_LENGTH - 1] + "…"


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the house style. Labels come from strangers, so no text is ever parsed as mathematics."""
    style: Any = {
        "text.parse_math": False,
        "font.size": 9,
        "axes.labelsize": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
    }
    style |= {"xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "legend.fontsize": 8.5, "axes.edgecolor": "#9a9a9a"}

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context(), sns.axes_style("ticks", rc=style), matplotlib.rc_context(style):
            return draw(*args, **kwargs)

    return drawn


@styled
def forest(comparisons: pd.DataFrame, seeds: pd.DataFrame, *, sesoi: float, note: str) -> Figure:
    """Paired differences in bits per byte, one column of panels a scale, one row of panels a baseline.

    comparisons: scale, candidate, baseline (labels), estimate, low, high (NaN where there is none), outcome.
    seeds: scale, candidate, baseline, seed, difference. Rows keep the order they first appear in.
    """
    scales, baselines = list(comparisons["scale"].unique()), list(comparisons["baseline"].unique())
    candidates = list(comparisons["candidate"].unique())
    figure = Figure(
        figsize=(2.4 + 3.5 * len(scales), 0.9 + len(baselines) * (0.45 + 0.26 * len(candidates))), layout="constrained"
    )
    grid = figure.subplots(len(baselines), len(scales), sharex=True, sharey=True, squeeze=False)
    for i, baseline in enumerate(baselines):
        for j, scale in enumerate(scales):
            here = comparisons.query("scale == @scale and baseline == @baseline").set_index("candidate")
            dots = seeds.query("scale == @scale and baseline == @baseline")
            _forest_panel(grid[i, j], here, dots, candidates, sesoi)
            if i == 0:
                grid[i, j].set_title(scale)
        grid[i, 0].set_ylabel(
            f"minus\n{shown(baseline)}", rotation=0, ha="right", va="center", labelpad=8, weight="bold"
        )
    reach = np.nanmax(np.abs(comparisons[["estimate", "low", "high"]].to_numpy(dtype=float)), initial=4 * sesoi)
    if reach > 200 * sesoi:  # one arm far off must not squash the rest
        grid[0, 0].set_xscale("symlog", linthresh=50 * sesoi)
        grid[0, 0].xaxis.set_major_formatter(ScalarFormatter())  # its own writes powers of ten as mathematics
        note += f"; axis linear to ±{50 * sesoi:g}, logarithmic beyond"
    figure.supxlabel(
        f"difference in honest validation loss, bits per byte   (← candidate better · baseline better →)\n{note}",
        fontsize=9,
    )
    columns = 6 if len(scales) > 1 else 3  # one column of panels is too narrow for all in a line
    handles = _verdict_legend(sesoi)
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, frameon=False, handletextpad=0.3)
    return figure


def _forest_panel(axes: Axes, here: pd.DataFrame, dots: pd.DataFrame, candidates: Sequence[str], sesoi: float) -> None:
    axes.axvspan(-sesoi, sesoi, color=BAND, lw=0, zorder=0)
    axes.axvline(0, color=MUTED, lw=0.8, zorder=1)
    for y, candidate in enumerate(candidates):
        if candidate not in here.index:
            continue
        row = here.loc[candidate]
        if not np.isfinite(row["estimate"]):
            axes.text(0, y, "no finished pair", ha="center", va="center", color=MUTED, size=8, style="italic")
            continue
        marker, colour, filled = VERDICT_STYLE[row["outcome"]]
        differences = dots.loc[dots["candidate"] == candidate, "difference"]
        axes.plot(differences, [y + 0.3] * len(differences), "o", ms=2.2, color=MUTED, alpha=0.75, mew=0, zorder=2)
        if np.isfinite(row["low"]) and np.isfinite(row["high"]):
            axes.plot([row["low"], row["high"]], [y, y], color=colour, lw=1.5, solid_capstyle="butt", zorder=3)
        axes.plot(row["estimate"], y, marker, color=colour, ms=5, mfc=colour if filled else "white", mew=1.2, zorder=4)
    axes.set_yticks(range(len(candidates)), [shown(candidate) for candidate in candidates])
    axes.set_ylim(len(candidates) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#efefef", lw=0.7)
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=True)


def _verdict_legend(sesoi: float) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [
        Line2D([], [], marker=marker, color=colour, mfc=colour if filled else "white", lw=1.5, ms=6, label=outcome)
        for outcome, (marker, colour, filled) in VERDICT_STYLE.items()
    ]
    handles.append(Line2D([], [], marker="o", ms=2.6, lw=0, color=MUTED, label="one seed"))
    handles.append(Patch(color=BAND, label=f"±{sesoi:g}: negligible"))
    return handles


@styled
def loss_curves(curves: pd.DataFrame, *, reference: str) -> Figure:
    """Training loss, and its difference to the arm `reference` paired by seed; mean and SD over seeds.

    curves: scale, arm (label), seed, step, loss (nats per token); finished runs only. Each point drawn is a mean over
    a sixtieth of the steps; the difference is taken seed by seed, so noise of the shared data order cancels.
    """
    scales, arms = list(curves["scale"].unique()), list(curves["arm"].unique())
    colours = {arm: SERIES[i % len(SERIES)] for i, arm in enumerate(arms)}
    dashes = {arm: DASHES[i % len(DASHES)] for i, arm in enumerate(arms)}
    figure = Figure(figsize=(2.2 + 3.3 * len(scales), 5.4), layout="constrained")
    grid = figure.subplots(2, len(scales), squeeze=False, sharex="col", height_ratios=(3, 2))
    for j, scale in enumerate(scales):
        binned = _binned(curves[curves["scale"] == scale])
        differences = _minus_reference(binned, reference)
        for arm in arms:
            _seed_band(grid[0, j], binned.loc[binned["arm"] == arm], "loss", colours[arm], dashes[arm])
            _seed_band(grid[1, j], differences.loc[differences["arm"] == arm], "difference", colours[arm], dashes[arm])
        _curve_axes(grid[0, j], grid[1, j], scale, binned, differences)
    grid[0, 0].set_ylabel("training loss\n(nats per token, log scale)")
    grid[1, 0].set_ylabel(f"minus {shown(reference)}\n(nats per token)")
    handles = [Line2D([], [], color=colours[arm], ls=dashes[arm], lw=1.6, label=shown(arm)) for arm in arms]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, title="arm", alignment="left")
    return figure


def _binned(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean loss of each (arm, seed) in at most CURVE_POINTS stretches of steps; `step` is the stretch's middle."""
    width = max(1.0, (curves["step"].max() + 1) / CURVE_POINTS)
    stretch = (curves["step"] // width).rename("stretch")
    means = curves.groupby(["arm", "seed", stretch], sort=False)["loss"].mean().reset_index()
    return means.assign(step=(means["stretch"] + 0.5) * width)


def _minus_reference(binned: pd.DataFrame, reference: str) -> pd.DataFrame:
    base = binned.loc[binned["arm"] == reference, ["seed", "step", "loss"]]
    paired = binned.merge(base, on=["seed", "step"], suffixes=("", "_reference"))
    return paired.assign(difference=paired["loss"] - paired["loss_reference"])


def _seed_band(axes: Axes, frame: pd.DataFrame, column: str, colour: str, dash: str) -> None:
    over_seeds = frame.groupby("step")[column].agg(["mean", "std"]).fillna({"std": 0.0})
    steps, mean, spread = over_seeds.index.to_numpy(), over_seeds["mean"], over_seeds["std"]
    axes.fill_between(steps, mean - spread, mean + spread, color=colour, alpha=0.13, lw=0)
    axes.plot(steps, mean, color=colour, ls=dash, lw=1.4)


def _curve_axes(loss: Axes, gap: Axes, scale: str, binned: pd.DataFrame, differences: pd.DataFrame) -> None:
    loss.set_title(scale)
    loss.set_yscale("log")
    loss.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    loss.yaxis.set_major_formatter(ScalarFormatter())
    loss.yaxis.set_minor_formatter(NullFormatter())
    loss.minorticks_off()
    # The last three quarters decide; the first steps, where every arm falls from chance, would squash them.
    late = differences.loc[differences["step"] > 0.25 * binned["step"].max(), "difference"]
    if not late.empty:
        low, high = min(late.quantile(0.005), 0.0), max(late.quantile(0.995), 0.0)
        margin = 0.08 * (high - low) or 0.01
        gap.set_ylim(low - margin, high + margin)
    gap.axhline(0, color=MUTED, lw=0.8)
    gap.set_xlabel("training step")
    for axes in (loss, gap):
        axes.grid(color="#efefef", lw=0.7)
        sns.despine(ax=axes)


@styled
def rank_plot(scores: pd.DataFrame) -> Figure:
    """Rank of every arm at each scale (1 = lowest loss), smallest scale first.

    scores: scale, arm (label), seed, bits_per_byte; finished runs only. Lines join ranks of the mean over seeds; a dot
    is the rank within one seed, its area the number of seeds. Only seeds in which every ranked arm finished are used.
    """
    scales, arms = list(scores["scale"].unique()), list(scores["arm"].unique())
    figure = Figure(figsize=(3.2 + 2.6 * len(scales), 0.8 + 0.36 * len(arms)), layout="constrained")
    axes = figure.subplots()
    means = scores.groupby(["scale", "arm"])["bits_per_byte"].mean().unstack("scale")[scales]
    ranks = means.rank(method="first")
    for i, arm in enumerate(arms):
        colour = SERIES[i % len(SERIES)]
        axes.plot(
            range(len(scales)),
            ranks.loc[arm],
            marker="o",
            color=colour,
            ls=DASHES[i % len(DASHES)],
            lw=1.8,
            ms=5,
            zorder=3,
        )
        for j, scale in enumerate(scales):
            per_seed = _seed_ranks(scores[scores["scale"] == scale])
            if arm in per_seed.index:
                counts = per_seed.loc[arm].value_counts()
                axes.scatter([j] * len(counts), counts.index, s=26 * counts, color=colour, alpha=0.22, lw=0, zorder=2)
    for j, side in ((0, -1), (len(scales) - 1, 1)):
        for arm in arms:
            text = f"{shown(arm)}  {means.loc[arm, scales[j]]:.3f}"
            at = (j + 0.09 * side, ranks.loc[arm, scales[j]])
            if np.isfinite(at[1]):
                axes.text(*at, text, ha="left" if side > 0 else "right", va="center", size=8.5)
    axes.set_xticks(range(len(scales)), scales)
    axes.set_xlim(-0.95, len(scales) - 0.05)
    axes.set_ylim(len(arms) + 0.6, 0.4)
    axes.set_yticks([])
    axes.set_xlabel("scale (mean bits per byte beside each name; rank 1, the lowest, on top)")
    axes.grid(axis="x", color="#d5d5d5", lw=1)
    sns.despine(ax=axes, left=True, bottom=True)
    return figure


def _seed_ranks(scores: pd.DataFrame) -> pd.DataFrame:
    table = scores.pivot(index="arm", columns="seed", values="bits_per_byte").dropna(how="all")
    return table.dropna(axis="columns").rank(method="first")


@styled
def losses(scores: pd.DataFrame, counts: pd.DataFrame) -> Figure:
    """Honest validation loss of every run beside n-gram count models on the same bytes, one panel a scale.

    scores: scale, arm (label), seed, bits_per_byte; finished runs only. counts: model, bits_per_byte.
    """
    scales, arms = list(scores["scale"].unique()), list(scores["arm"].unique())
    figure = Figure(figsize=(2.4 + 3.5 * len(scales), 1.5 + 0.26 * len(arms)), layout="constrained")
    grid = figure.subplots(1, len(scales), squeeze=False, sharex=True, sharey=True)[0]
    low, high = scores["bits_per_byte"].min(), scores["bits_per_byte"].max()
    # Count models far above every arm would squash the arms.
    near = counts[counts["bits_per_byte"] <= high + 0.25 * max(high - low, 0.1)]
    for axes, scale in zip(grid, scales, strict=True):
        here = scores[scores["scale"] == scale]
        for y, arm in enumerate(arms):
            values = here.loc[here["arm"] == arm, "bits_per_byte"]
            axes.plot(values, [y] * len(values), "o", ms=3.6, mfc="none", mec=SERIES[0], mew=0.9, alpha=0.8)
            if len(values):
                axes.plot(values.mean(), y, "|", ms=11, mew=1.8, color=INK)
        for value in near["bits_per_byte"]:
            axes.axvline(value, color="#D55E00", lw=1, ls="--", zorder=0)
        axes.margins(x=0.08)
        _count_labels(axes, near)
        axes.set_title(scale, pad=34 if len(near) else 6)
        axes.set_yticks(range(len(arms)), [shown(arm) for arm in arms])
        axes.set_ylim(len(arms) - 0.4, -0.6)
        axes.grid(axis="x", color="#efefef", lw=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        sns.despine(ax=axes, left=True)
    figure.supxlabel("honest loss, bits per byte (circle: one seed; bar: mean; dashed: n-gram count model)", fontsize=9)
    return figure


def _count_labels(axes: Axes, counts: pd.DataFrame) -> None:
    """Names above the lines of count models; neighbours too close for two labels share one."""
    left, right = axes.get_xlim()
    groups: list[tuple[float, list[str]]] = []
    for value, model in sorted(zip(counts["bits_per_byte"], counts["model"], strict=True)):
        if groups and value - groups[-1][0] < 0.06 * (right - left):
            groups[-1][1].append(model)
        else:
            groups.append((value, [model]))
    for value, models in groups:
        at: Any = {"xycoords": ("data", "axes fraction"), "xytext": (0, 2), "textcoords": "offset points"}
        axes.annotate(", ".join(models), (value, 1), rotation=30, size=7.5, color="#9c4400", **at)
