"""The family tree of a search: where each experiment stands, and its drawing."""

from __future__ import annotations

import math

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from audit.figures import INK, MUTED, shown, styled
from audit.search.evidence import DISCARDED, KEPT, SCORED, START, UNRANKED

ROOT = -1  # what joins the programs that a search starts from; never drawn
EDGE, GREY = "#b4bac3", "#9a9a9a"
COLOURS = matplotlib.colormaps["cividis"].resampled(40)  # a colour bar of more steps would be a bitmap
LOWEST = 0.1  # this share of the fitnesses have the darkest colour, so that a few poor ones do not flatten the rest
MOST_LABELS = 12  # of the best line of descent


def layout(table: pd.DataFrame) -> pd.DataFrame:
    """Parent and row of each node of a family tree, indexed by number; the root is `ROOT`.

    table: number, parent (NaN: the root; so is a parent that does not come before), fitness. A parent shares its row
    with the child that has the fittest descendants; every other child opens a row below, so that no lines cross.
    """
    numbers = [int(number) for number in table["number"]]
    known = set(numbers)
    parents = {
        number: int(parent) if parent in known and parent < number else ROOT
        for number, parent in zip(numbers, table["parent"], strict=True)
    }
    reach = {ROOT: -math.inf} | dict(zip(numbers, table["fitness"].fillna(-math.inf), strict=True))
    children: dict[int, list[int]] = {number: [] for number in (ROOT, *numbers)}
    for number in sorted(numbers, reverse=True):
        children[parents[number]].append(number)
        reach[parents[number]] = max(reach[parents[number]], reach[number])
    rows: dict[int, int] = {}
    stack: list[tuple[int, int | None]] = [(ROOT, None)]
    free = 0
    while stack:
        number, row = stack.pop()
        rows[number] = free if row is None else row
        free += row is None
        ordered = sorted(children[number], key=lambda child: (-reach[child], child))
        stack += [(child, rows[number] if child == ordered[0] else None) for child in reversed(ordered)]
    placed = pd.DataFrame({"parent": pd.Series(parents, dtype="float64"), "row": pd.Series(rows, dtype="int64")})
    return placed.sort_index()


def best_line(table: pd.DataFrame, placed: pd.DataFrame) -> list[int]:
    """Numbers from a start to the fittest experiment; empty where none has a fitness."""
    if not table["fitness"].notna().any():
        return []
    line = [int(table.loc[table["fitness"].idxmax(), "number"])]
    while (parent := int(placed.loc[line[-1], "parent"])) != ROOT:
        line.append(parent)
    return line[::-1]


@styled
def family_tree(table: pd.DataFrame, *, measure: str) -> Figure:
    """Experiments from left to right in the order they were made, each joined to its parent.

    table: number, name, parent, outcome, fitness (NaN: none). measure: what the fitness is called.
    """
    placed = layout(table)
    rows = int(placed["row"].max()) + 1
    inches = max(0.075, min(0.2, 3.2 / rows))  # a row
    figure = Figure(figsize=(9.2, 1.4 + max(1.0, rows * inches)), layout="constrained")
    axes = figure.subplots()
    line = best_line(table, placed)
    _edges(axes, placed, line)
    _nodes(figure, axes, table.assign(row=placed.loc[table["number"], "row"].to_numpy()), measure)
    _labels(axes, table.set_index("number"), placed, line)
    last = float(table["number"].max())
    margin = 0.6 + 0.015 * last
    axes.set(xlim=(-margin, last + margin), ylim=(rows - 0.2, -0.45 / inches), yticks=[])
    axes.set_xlabel("experiment (in the order of the search)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="x", color="#efefef", lw=0.7)
    axes.set_axisbelow(True)
    sns.despine(ax=axes, left=True)
    handles = _handles(set(table["outcome"]), bool(line))
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, handletextpad=0.4)
    return figure


def _edges(axes: Axes, placed: pd.DataFrame, line: list[int]) -> None:
    """Elbows: down at the parent, then across to the child."""
    rows, parents = placed["row"], placed.loc[placed["parent"] > ROOT, "parent"]
    elbows = {
        int(number): [(parent, rows[parent]), (parent, rows[number]), (number, rows[number])]
        for number, parent in parents.items()
    }
    best = [elbows[number] for number in line[1:]]
    axes.add_collection(LineCollection(list(elbows.values()), colors=EDGE, linewidths=0.8, zorder=1))
    axes.add_collection(LineCollection(best, colors=INK, linewidths=2.2, zorder=2))


def _nodes(figure: Figure, axes: Axes, table: pd.DataFrame, measure: str) -> None:
    """Ranked ones in colour, trained ones without a fitness as grey squares, failures hollow."""
    size = 42.0 if len(table) <= 60 else 24.0
    ranked = table[table["fitness"].notna()]
    unranked = table[table["fitness"].isna() & table["outcome"].isin(SCORED)]
    failed = table[~table["outcome"].isin(SCORED)]
    axes.scatter(failed["number"], failed["row"], s=0.5 * size, c="white", edgecolors=MUTED, linewidths=0.9, zorder=3)
    axes.scatter(unranked["number"], unranked["row"], s=0.7 * size, marker="s", c=GREY, lw=0, zorder=3)
    if ranked.empty:
        return
    low, high = ranked["fitness"].quantile(LOWEST), ranked["fitness"].max()
    for marker, rows in (("o", ranked[ranked["outcome"] != START]), ("D", ranked[ranked["outcome"] == START])):
        drawn = axes.scatter(rows["number"], rows["row"], s=size, c=rows["fitness"], cmap=COLOURS, edgecolors=INK,
                             linewidths=0.6, marker=marker, zorder=4, vmin=low, vmax=high)  # fmt: skip
    bar = figure.colorbar(drawn, ax=axes, shrink=min(1.0, 0.35 + 30 / len(table)), aspect=28, pad=0.015, label=measure,
                    extend="min" if ranked["fitness"].min() < low else "neither")  # fmt: skip
    assert bar.solids is not None
    bar.solids.set_edgecolor("face")  # no white lines between its steps


def _labels(axes: Axes, table: pd.DataFrame, placed: pd.DataFrame, line: list[int]) -> None:
    """Numbers along the best line of descent, and the name of its end."""
    if not line:
        return
    *earlier, end = line
    for number in earlier[-MOST_LABELS:]:
        axes.annotate(f"{number}", (number, placed.loc[number, "row"]), xytext=(0, 6), textcoords="offset points",
                      ha="center", size=7, color=MUTED)  # fmt: skip
    side = "right" if end > 0.6 * table.index.max() else "left"
    name = f"{end} {shown(table.loc[end, 'name'])}, fitness {table.loc[end, 'fitness']:.3f}"
    axes.annotate(name, (end, placed.loc[end, "row"]), xytext=(0, 17), textcoords="offset points", ha=side, size=8,
                  weight="bold", arrowprops={"arrowstyle": "-", "color": INK, "lw": 0.8})  # fmt: skip


def _handles(outcomes: set[str], has_line: bool) -> list[Line2D]:
    handles = []
    if START in outcomes:
        handles.append(Line2D([], [], lw=0, marker="D", color="white", mec=INK, ms=6, label="start"))
    if KEPT in outcomes:
        handles.append(Line2D([], [], lw=0, marker="o", color="#7c7b78", mec=INK, ms=6, label="kept (colour: fitness)"))
    if outcomes & {DISCARDED, UNRANKED}:
        handles.append(Line2D([], [], lw=0, marker="s", color=GREY, ms=5, label="trained, not kept"))
    if outcomes - {*SCORED}:
        handles.append(Line2D([], [], lw=0, marker="o", color=MUTED, mfc="white", ms=4.5, label="no score"))
    if has_line:
        handles.append(Line2D([], [], color=INK, lw=2.2, label="descent of the fittest"))
    return handles
