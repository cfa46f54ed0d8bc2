"""The roofline: what each form of each operator reaches, below what the hardware allows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from audit.figures import INK, MUTED, SERIES, styled

FORM_STYLE = {  # form -> (marker, colour, filled, words)
    "eager": ("o", MUTED, False, "plain PyTorch"),
    "compiled": ("s", SERIES[4], False, "torch.compile"),
    "fla": ("^", SERIES[1], True, "flash-linear-attention"),
    "ours": ("D", SERIES[0], True, "ours"),
}
TITLES = {
    "fir": "Causal filters",
    "branch_mix": "Moments and mixing",
    "head_gate": "Head gate",
    "delta_rule": "Delta rule",
}
APART = 1.13  # least factor between the columns of two shapes


@styled
def roofline(rows: pd.DataFrame, copy: float, product: float, machine: str) -> Figure:
    """One panel an operator: operations per byte against operations a second, both by count, on logarithmic axes.

    rows: name, size, shape, form, intensity, flops_per_second. copy: bytes a second. product: operations a second.
    """
    operators = [name for name in TITLES if name in set(rows["name"])]
    unit, words = (1e12, "10¹²") if product > 1e13 else (1e9, "10⁹")
    height = 3.3 * ((len(operators) + 1) // 2) + 0.6
    figure = Figure(figsize=(8.6, height), layout="constrained")
    grid = figure.subplots((len(operators) + 1) // 2, 2, squeeze=False).flatten()
    for axes, operator in zip(grid, operators, strict=False):
        _panel(axes, rows[rows["name"] == operator], copy, product, unit)
        axes.set_title(TITLES[operator])
    for axes in grid[len(operators) :]:
        axes.set_axis_off()
    figure.supxlabel("operations per byte moved (both by count)", fontsize=9)
    figure.supylabel(f"{words} operations a second", fontsize=9)
    present = [form for form in FORM_STYLE if form in set(rows["form"])]
    handles = [
        Line2D([], [], marker=marker, color=colour, mfc=colour if filled else "white", lw=0, ms=6, label=words)
        for marker, colour, filled, words in (FORM_STYLE[form] for form in present)
    ]
    handles.append(Line2D([], [], color=INK, lw=1.4, label=f"ceiling of {machine}: copy, then matrix product"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, handletextpad=0.4)
    return figure


def _panel(axes: Axes, rows: pd.DataFrame, copy: float, product: float, unit: float) -> None:
    shapes = rows.drop_duplicates("shape").sort_values("intensity", kind="stable")
    places = dict(zip(shapes["shape"], _spread(shapes["intensity"].to_numpy(dtype=float)), strict=True))
    low, high = min(places.values()) / 1.8, max(places.values()) * 1.8
    widen = max(1.0, (10 / (high / low)) ** 0.5)
    low, high = low / widen, high * widen
    line = np.geomspace(low, high, 200)
    axes.plot(line, np.minimum(line * copy, product) / unit, color=INK, lw=1.4, zorder=1)
    for shape, x in places.items():
        here = rows[rows["shape"] == shape]
        heights = here["flops_per_second"] / unit
        axes.plot([x, x], [heights.min(), heights.max()], color="#d0d0d0", lw=1, zorder=1)
        for form, (marker, colour, filled, _) in FORM_STYLE.items():
            axes.plot([x] * int((here["form"] == form).sum()), heights[here["form"] == form], marker, ms=6, lw=0,
                      color=colour, mfc=colour if filled else "white", mew=1.3, zorder=3)  # fmt: skip
        axes.annotate(_label(here.iloc[0]), (x, heights.min()), xytext=(0, -7), textcoords="offset points", rotation=90,
                      ha="center", va="top", size=7.5, color=MUTED)  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    top = max(float(rows["flops_per_second"].max()), min(high * copy, product)) / unit
    axes.set_ylim(float(rows["flops_per_second"].min()) / unit / 100, top * 3)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color="#efefef", lw=0.7)
    axes.set_axisbelow(True)
    sns.despine(ax=axes)


def _spread(values: np.ndarray) -> list[float]:
    """Increasing places near increasing values, each at least a factor APART from the one before."""
    places = list(values)
    for _ in range(50):
        for i in range(1, len(places)):
            gap = APART * places[i - 1] / places[i]
            if gap > 1.0001:
                places[i - 1], places[i] = places[i - 1] / gap**0.5, places[i] * gap**0.5
    return places


def _label(row: pd.Series) -> str:
    """The size, and what tells shapes of one size apart."""
    words = str(row["shape"])
    if "taps" in words:
        return f"{row['size']}, {words[words.index('taps') :]}"
    return str(row["size"])
