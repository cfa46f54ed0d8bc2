"""The released search tree, and the ranks that parents had when they were chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from audit.claims.reading import numbers
from audit.sheets import Sheet
from audit.statistics.estimate import Floats

Ints = NDArray[np.int64]
Reading = Literal["every_entry", "rows", "identifiers", "one_late", "own_entry"]


@dataclass(frozen=True, kw_only=True)
class Tree:
    """Nodes in the order of the search.

    rows, identifier, score: [n]. parent: [n], position of the parent; -1: none, -2: one that is not there. dangling:
    how many of the latter. left_out: rows without a number for identifier or score, or with an identifier used before.
    """

    rows: Ints
    identifier: Ints
    score: Floats
    parent: Ints
    dangling: int
    left_out: int


def read_tree(sheet: Sheet) -> Tree:
    """The tree of a sheet with columns index, parent and score."""
    nodes = numbers(sheet, ["index", "score"]).drop_duplicates("index").sort_values("index", kind="stable")
    position = {identifier: place for place, identifier in enumerate(nodes["index"])}
    cells, values = sheet.column("parent").loc[nodes.index], sheet.numbers("parent").loc[nodes.index]
    parent = np.array(
        [
            -1 if cell is None or cell != cell else position.get(value, -2)
            for cell, value in zip(cells, values, strict=True)
        ],
        dtype=np.int64,
    )
    return Tree(
        rows=nodes.index.to_numpy(dtype=np.int64),
        identifier=nodes["index"].to_numpy(dtype=np.int64),
        score=nodes["score"].to_numpy(dtype=np.float64),
        parent=parent,
        dangling=int((parent == -2).sum()),
        left_out=len(sheet.cells) - len(nodes),
    )


def pool_size(tree: Tree, reading: Reading, every: int) -> Ints:
    """Nodes [n] that the pool had seen when each node's parent was drawn.

    every_entry: refreshed after each node. rows, identifiers: after each `every` nodes, counted in rows or by their
    identifier. one_late: by rows, one refresh later. own_entry: up to the parent's own entry, when its rank is best:
    the most lenient reading, whatever the refreshing.
    """
    place = np.arange(len(tree.score))
    if reading == "every_entry":
        return place
    if reading == "own_entry":
        return np.where(tree.parent >= 0, tree.parent + 1, place)
    if reading == "identifiers":
        return np.searchsorted(tree.identifier, (tree.identifier - 1) // every * every, side="right").astype(np.int64)
    late = every if reading == "one_late" else 0
    return np.maximum(place // every * every - late, 0)


def parent_ranks(tree: Tree, seen: Ints) -> Floats:
    """Rank [n] of each node's parent by released score among the first `seen` [n] nodes.

    1 is best. Infinite where the parent is not among them; NaN where there is no parent.
    """
    # above[p, c]: of the first c nodes, how many score higher than node p.
    higher = tree.score[None, :] > tree.score[:, None]
    above = np.concatenate([np.zeros((len(higher), 1), dtype=np.int32), higher.cumsum(axis=1, dtype=np.int32)], axis=1)
    parent = np.maximum(tree.parent, 0)
    ranks = 1.0 + above[parent, seen]
    ranks[tree.parent >= seen] = np.inf
    ranks[tree.parent < 0] = np.nan
    return np.asarray(ranks, dtype=np.float64)


def best_mean(tree: Tree, up_to: float, best: int) -> float:
    """Mean score of the `best` best nodes whose identifier is at most `up_to`; NaN where there are fewer."""
    scores = tree.score[tree.identifier <= up_to]
    return float(np.sort(scores)[-best:].mean()) if len(scores) >= best else float("nan")
