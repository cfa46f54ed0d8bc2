"""Figures of causality certificates: candidates x checks, and what an output depends on.

Outcomes are told apart by shape as well as by colour (Okabe-Ito), so figures read in grey.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from audit.figures import INK, MUTED, shown, styled
from replication.certificate import CHECKS, LEAKS

LEAK, PROPERTY = "#D55E00", "#0072B2"
MARKS = {  # (marker, face, edge, size)
    "leak": ("s", LEAK, LEAK, 6.5),
    "property": ("D", "white", PROPERTY, 4.6),
    "not_runnable": ("x", MUTED, MUTED, 4.6),
    "certified": ("o", "#c4c4c4", "#c4c4c4", 2.2),
}
WRAP = 58  # letters of the list of programs beside a pattern
MAP_LEVELS = 12  # shades of the dependency map: one path each keeps the drawing small


@styled
def matrix(table: pd.DataFrame) -> Figure:
    """One row a program, one column a check; programs in blocks under the name of their group.

    table: group, name, check, outcome, expected (the outcome that was planted; NaN where none was stated). The first
    group stands on the left, the others on the right; groups and programs keep the order they first appear in.
    """
    groups = list(table["group"].unique())
    blocks = [block for block in (groups[:1], groups[1:]) if block]
    rows = [sum(2 + table.loc[table["group"] == group, "name"].nunique() for group in block) for block in blocks]
    figure = Figure(figsize=(4.6 * len(blocks), 1.1 + 0.185 * max(rows)), layout="constrained")
    for axes, block in zip(figure.subplots(1, len(blocks), squeeze=False)[0], blocks, strict=True):
        _block(axes, table, block, max(rows))
    figure.legend(handles=_legend(expectations=True), loc="outside upper center", ncols=3, frameon=False)
    return figure


def _block(axes: Axes, table: pd.DataFrame, groups: Sequence[str], height: int) -> None:
    y, ticks, labels = 0, [], []
    for group in groups:
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        axes.text(-0.5, y + 0.35, group, weight="bold", size=9, va="center", bbox=paper, zorder=5)
        for name, of_program in table[table["group"] == group].groupby("name", sort=False):
            y += 1
            ticks.append(y)
            labels.append(shown(str(name)))
            outcomes = of_program.set_index("check")
            _row(axes, y, outcomes["outcome"].to_dict())
            missed = outcomes["expected"].notna() & (outcomes["expected"] != outcomes["outcome"])
            for check in outcomes.index[missed]:
                axes.plot(CHECKS.index(check), y, "o", ms=11, mfc="none", mec=INK, mew=1.3, zorder=4)
        y += 2
    axes.set_yticks(ticks, labels)
    axes.set_ylim(height - 0.5, -0.6)
    _check_axis(axes)


def _row(axes: Axes, y: float, outcomes: Mapping[str, str]) -> None:
    axes.axhline(y, color="#ededed", lw=0.7, zorder=0)
    for x, check in enumerate(CHECKS):
        if check in outcomes:
            marker, face, edge, size = MARKS[_mark(check, outcomes[check])]
            axes.plot(x, y, marker, mfc=face, mec=edge, ms=size, mew=1.3, color=edge, zorder=3)


def _mark(check: str, outcome: str) -> str:
    if outcome != "violated":
        return outcome
    return "leak" if check in LEAKS else "property"


def _check_axis(axes: Axes) -> None:
    axes.set_xlim(-0.6, len(CHECKS) - 0.4)
    axes.set_xticks(range(len(CHECKS)), CHECKS, rotation=40, ha="left", rotation_mode="anchor")
    axes.axvline(len(LEAKS) - 0.5, color="#9a9a9a", lw=0.8)  # leaks stand left of it, properties right
    axes.tick_params(axis="both", length=0)
    axes.tick_params(axis="x", labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)


def _legend(expectations: bool) -> list[Line2D]:
    words = {
        "leak": "leak found",
        "property": "property found, no leak",
        "not_runnable": "could not be run",
        "certified": "certified",
    }
    handles = [
        Line2D([], [], lw=0, marker=marker, mfc=face, mec=edge, ms=size, mew=1.3, label=words[kind])
        for kind, (marker, face, edge, size) in MARKS.items()
    ]
    if expectations:
        handles.append(Line2D([], [], lw=0, marker="o", ms=10, mfc="none", mec=INK, label="not what was planted"))
    return handles


@styled
def patterns(table: pd.DataFrame) -> Figure:
    """Programs with the same outcomes in one row: the outcomes, how many programs, and which.

    table: name (short), check, outcome. Rows with leaks come first and name every program; long lists elsewhere are
    cut after two lines.
    """
    outcomes = table.pivot(index="name", columns="check", values="outcome")[list(CHECKS)]
    members: dict[tuple[str, ...], list[str]] = {}
    for name in table["name"].unique():
        members.setdefault(tuple(outcomes.loc[name]), []).append(name)
    ordered = sorted(members.items(), key=lambda item: _seriousness(item[0], len(item[1])))
    texts = [_members(pattern, names) for pattern, names in ordered]
    heights = [max(1.0, 0.82 * (1 + text.count("\n"))) for text in texts]
    figure = Figure(figsize=(8.6, 1.25 + 0.21 * sum(heights)), layout="constrained")
    axes, beside = figure.subplots(1, 2, sharey=True, width_ratios=(2.2, 6))
    y, ticks = 0.0, []
    for (pattern, names), text, height in zip(ordered, texts, heights, strict=True):
        middle = y + height / 2
        ticks.append(middle)
        _row(axes, middle, dict(zip(CHECKS, pattern, strict=True)))
        beside.axhline(middle, color="#ededed", lw=0.7, zorder=0)
        beside.barh(middle, len(names), height=0.55, color="#9fb8c8", zorder=2)
        beside.text(len(names) + 0.015 * len(outcomes), middle, text, va="center", size=7, linespacing=1.1, zorder=3,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
        y += height
    axes.set_yticks(ticks, [f"{len(names)}" for _, names in ordered])
    axes.set_ylabel("programs with these outcomes")
    axes.set_ylim(y, 0)
    _check_axis(axes)
    beside.set_xlim(0, 1.9 * len(outcomes))
    beside.set_xticks(list(range(0, len(outcomes) + 1, 25)))
    beside.set_xlabel("number of programs (bar), and which", loc="left")
    beside.tick_params(axis="y", length=0, labelleft=False)
    beside.spines[["left", "right", "top"]].set_visible(False)
    figure.legend(handles=_legend(expectations=False), loc="outside upper center", ncols=4, frameon=False)
    return figure


def _seriousness(pattern: tuple[str, ...], size: int) -> tuple[int, int, int, tuple[str, ...]]:
    """Leaks first, then what could not be run, then the commonest."""
    leaks = sum(outcome == "violated" for check, outcome in zip(CHECKS, pattern, strict=True) if check in LEAKS)
    return (-leaks, -pattern.count("not_runnable"), -size, pattern)


def _members(pattern: tuple[str, ...], names: Sequence[str]) -> str:
    whole = [name.replace(" ", "\xa0") for name in names]  # a line never breaks inside a name
    lines = textwrap.wrap(", ".join(whole), WRAP, break_on_hyphens=False)
    leaky = any(outcome == "violated" for check, outcome in zip(CHECKS, pattern, strict=True) if check in LEAKS)
    if leaky or len(lines) <= 2:
        return "\n".join(lines)
    return "\n".join([*lines[:2], "…"])


@styled
def dependency(maps: Mapping[str, np.ndarray]) -> Figure:
    """How much each output depends on each input, one panel a program, on one logarithmic scale.

    maps: title -> non-negative array [T inputs, T outputs]. Nothing at all is white; below the diagonal lies what a
    causal program must not have.
    """
    largest = max(float(values.max()) for values in maps.values())
    smallest = min((float(values[values > 0].min()) for values in maps.values() if (values > 0).any()), default=1.0)
    top = np.log10(largest) if largest > 0 else 0.0
    bottom = min(max(np.log10(smallest), top - 12), top - 1)
    edges = np.linspace(bottom, top, MAP_LEVELS + 1)
    colours = mpl.colormaps["cividis_r"].resampled(MAP_LEVELS)
    figure = Figure(figsize=(1.6 + 3.2 * len(maps), 4.0), layout="compressed")
    grid = figure.subplots(1, len(maps), squeeze=False, sharey=True)[0]
    for axes, (title, values) in zip(grid, maps.items(), strict=True):
        length = len(values)
        for level, cells in enumerate(_levels(values, edges)):
            if cells:
                colour = colours(level)
                axes.add_patch(PathPatch(Path.make_compound_path(*cells), facecolor=colour, edgecolor=colour, lw=0.1))
        axes.plot([-0.5, length - 0.5], [-0.5, length - 0.5], color=LEAK, lw=1)
        axes.set(xlim=(-0.5, length - 0.5), ylim=(length - 0.5, -0.5), aspect="equal", xlabel="output position t")
        axes.set_title(title)
    grid[0].set_ylabel("input position s")
    bar = figure.colorbar(
        ScalarMappable(BoundaryNorm(10.0**edges, MAP_LEVELS), colours), ax=list(grid), shrink=0.85, format="%.0e"
    )
    bar.set_label("|Δ output t| / |Δ input s|  (white: exactly 0)")
    bar.ax.minorticks_off()
    return figure


def _levels(values: np.ndarray, edges: np.ndarray) -> list[list[Path]]:
    """For each level, rectangles that cover its cells: runs of equal level along a row are one rectangle."""
    with np.errstate(divide="ignore"):
        level = np.digitize(np.log10(values), edges[1:-1])
    level = np.where(values > 0, level, -1)
    rectangles: list[list[Path]] = [[] for _ in range(len(edges) - 1)]
    for row, of_row in enumerate(level):
        starts = np.flatnonzero(np.diff(of_row, prepend=-2))
        for start, end in zip(starts, [*starts[1:], len(of_row)], strict=True):
            if of_row[start] >= 0:
                corners = [(start, row), (end, row), (end, row + 1), (start, row + 1), (start, row)]
                rectangles[of_row[start]].append(Path(np.array(corners) - 0.5, closed=True))
    return rectangles
