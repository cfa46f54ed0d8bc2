"""Seeded errors for a synthetic paper: each is put into the rows and says where it is to be found.

Knows nothing of the checks. An error's `kind` is a word of the list of inconsistencies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from tests.audit.synthetic_paper import ITEMS, TABLE1, Paper, Row, log_cells, log_text

CURVES = "gallery.json, training curves"
ALTERNATIVES = ("gallery_row_deleted", "figure1_point")  # a lost program shifts every later count: one hides the other


@dataclass
class Error:
    """kind, file and column as a finding should name them; row: the object that holds the error, None where it is gone.

    at: row number, filled in when all errors are in place. text: what the finding should mention besides.
    """

    kind: str
    file: str
    column: str
    row: Row | None = None
    text: str = ""
    step: int | None = None
    at: int | None = None


@dataclass
class Desk:
    """A paper being spoilt: no row is touched twice."""

    paper: Paper
    rng: np.random.Generator
    used: set[int] = field(default_factory=set)

    @classmethod
    def seeded(cls, paper: Paper, seed: int) -> Desk:
        return cls(paper, np.random.default_rng(seed))

    def table(self, name: str) -> list[Row]:
        return self.paper.tables[name]

    def pick(self, rows: Iterable[Row]) -> Row:
        free = [row for row in rows if id(row) not in self.used]
        return self.use(free[self.rng.integers(len(free))])

    def use(self, row: Row) -> Row:
        self.used.add(id(row))
        return row

    def program(self) -> tuple[Row, Row, Row]:
        """A program's row in the gallery, in table 2 and in the tree, none of them touched before."""
        table = {row["name"]: row for row in self.table("table2")[2:]}
        tree = {row["index"]: row for row in self.paper.tree}
        rows = [(row, table.get(_words(row["name_new"])), tree.get(row["index"])) for row in self.paper.gallery]
        free = [trio for trio in rows if all(row is not None and id(row) not in self.used for row in trio)]
        chosen = free[self.rng.integers(len(free))]
        for row in chosen:
            self.use(row)
        return chosen

    def plain_node(self) -> Row:
        """A node that is no program of the gallery and no parent, and not near the ends."""
        special = {row["index"] for row in self.paper.gallery} | {row["parent"] for row in self.paper.tree}
        return self.pick(row for row in self.paper.tree[50:-50] if row["index"] not in special)

    def shift(self, row: Row, column: str, by: float, decimals: int) -> None:
        row[column] = f"{float(row[column]) + by:.{decimals}f}"

    def consistent_delta(self, row: Row, column: str, decimals: int) -> None:
        difference = float(row[column]) - float(self.table("table2")[1][column])
        row[f"delta_{column}_printed"] = f"{difference:+.{decimals}f}"

    def edit_log(self, row: Row, log: str, column: str, cell: str) -> None:
        name, cells = log_cells(row["result"][log])
        row["result"][log] = log_text(name, cells | {column: cell})


def _words(name: str) -> str:
    return name.replace("_", " ")


def corrupt(paper: Paper, seed: int, amount: int) -> dict[str, Error]:
    """Put `amount` errors of different kinds into the paper; by the kind's name."""
    desk = Desk.seeded(paper, seed)
    left_out = ALTERNATIVES[desk.rng.integers(2)]
    names = [name for name in ERRORS if name != left_out]
    chosen = desk.rng.choice(names, amount, replace=False)
    return place(desk, [str(name) for name in chosen])


def place(desk: Desk, names: list[str]) -> dict[str, Error]:
    errors = {name: ERRORS[name](desk) for name in names}
    for error in errors.values():
        error.at = _row_number(desk.paper, error)
    return errors


def _row_number(paper: Paper, error: Error) -> int | None:
    if error.row is None:
        return None
    gallery = error.file == CURVES or error.file == "gallery.json"
    rows = paper.gallery if gallery else paper.tree if error.file == "tree.json" else paper.tables[error.file[:-4]]
    position = next(i for i, row in enumerate(rows) if row is error.row)
    if error.file != CURVES:
        return position + 1
    before = sum(len(log_cells(row["result"]["train"])[1]) for row in rows[:position])
    return before + 1 + list(log_cells(error.row["result"]["train"])[1]).index(str(error.step))


# Arithmetic.


def _difference(desk: Desk) -> Error:
    _, row, _ = desk.program()
    desk.shift(row, "delta_loss_340m_printed", float(desk.rng.choice([-0.01, 0.0003, 0.1])), 4)
    return Error("difference", "table2.csv", "delta_loss_340m_printed", row)


def _sign(desk: Desk) -> Error:
    _, row, _ = desk.program()
    row["delta_score_20m_printed"] = "-" + row["delta_score_20m_printed"][1:]
    return Error("difference", "table2.csv", "delta_score_20m_printed", row)


def _table1_mean(desk: Desk) -> Error:
    row = desk.pick(desk.table("table1"))
    desk.shift(row, "avg_printed", float(desk.rng.choice([-0.2, 0.05, 1.0])), 2)
    return Error("mean", "table1.csv", "avg_printed", row)


def _gallery_mean(desk: Desk) -> Error:
    row, _, _ = desk.program()
    desk.edit_log(row, "test", "average", f"{float(log_cells(row['result']['test'])[1]['average']) + 0.0007:.4f}")
    return Error("mean", "gallery.json", "test.average", row)


def _figure6_mean(desk: Desk) -> Error:
    row = desk.pick(desk.table("figure6")[5:-5])
    desk.shift(row, "total_score", float(desk.rng.choice([-0.003, 0.0004])), 4)
    return Error("mean", "figure6.csv", "total_score", row)


def _table3_share(desk: Desk) -> Error:
    row = desk.use(desk.table("table3")[0])
    desk.shift(row, "cognition_pct", float(desk.rng.choice([-1.5, 2.0])), 1)
    return Error("total", "table3.csv", "cognition_pct", row)


def _table3_all(desk: Desk) -> Error:
    row = desk.use(desk.table("table3")[2])
    desk.shift(row, "experience_pct", 3.0, 1)
    desk.shift(row, "originality_pct", -3.0, 1)
    return Error("total", "table3.csv", "experience_pct", row)


def _table3_count(desk: Desk) -> Error:
    desk.shift(desk.table("table3")[0], "n_architectures", 4, 0)
    return Error("total", "table3.csv", "n_architectures", desk.table("table3")[2])


def _figure8_cell(desk: Desk) -> Error:
    row = desk.pick(desk.table("figure8"))
    desk.shift(row, "600-800M", 0.06, 2)
    return Error("total", "figure8.csv", "600-800M", row)


# Shares that no count gives.


def _impossible(cell: str, n: int, whole: int) -> str:
    """The nearest larger number with as many digits that no k / n gives."""
    decimals = len(cell.split(".")[1])
    value = float(cell)
    possible = {round(whole * k / n * 10**decimals) for k in range(n + 1)}
    units = round(value * 10**decimals)
    while units in possible or units % 10 == 0:
        units += 1
    return f"{units / 10**decimals:.{decimals}f}"


def _table1_share(desk: Desk) -> Error:
    row = desk.pick(desk.table("table1"))
    column = str(desk.rng.choice(["piqa_acc", "winogrande_acc", "arc_easy_acc", "social_iqa_acc", "boolq_acc"]))
    row[column] = _impossible(row[column], ITEMS[TABLE1[column]], 100)
    return Error("percentage", "table1.csv", column, row)


def _gallery_share(desk: Desk) -> Error:
    row, _, _ = desk.program()
    task = str(desk.rng.choice(["arc_challenge", "piqa", "winogrande", "social_iqa"]))
    cell = f"{float(log_cells(row['result']['test'])[1][task]):.4f}"
    desk.edit_log(row, "test", task, _impossible(cell, ITEMS[task], 1))
    return Error("percentage", "gallery.json", f"test.{task}", row)


def _table2_share(desk: Desk) -> Error:
    _, row, _ = desk.program()
    row["score_20m"] = _impossible(row["score_20m"], 3500, 100)
    desk.consistent_delta(row, "score_20m", 2)
    return Error("percentage", "table2.csv", "score_20m", row)


def _figure7_share(desk: Desk) -> Error:
    row = desk.pick(row for row in desk.table("figure7") if float(row["gallery_pct"]) > 1)
    desk.shift(row, "gallery_pct", 0.081, 3)
    return Error("percentage", "figure7.csv", "gallery_pct", row)


# Rows and identifiers.


def _table2_row_deleted(desk: Desk) -> Error:
    program, row, _ = desk.program()
    desk.table("table2").remove(row)
    return Error("missing", "gallery.json", "name_new", program)


def _gallery_row_deleted(desk: Desk) -> Error:
    program, row, _ = desk.program()
    desk.paper.gallery.remove(program)
    return Error("missing", "table2.csv", "name", row)


def _tree_row_deleted(desk: Desk) -> Error:
    node = desk.plain_node()
    desk.paper.tree.remove(node)
    return Error("missing", "tree.json", "index", text=str(node["index"]))


def _tree_identifier(desk: Desk) -> Error:
    node = desk.plain_node()
    node["index"] = desk.paper.tree[10]["index"]
    node["parent"] = 1
    return Error("duplicate", "tree.json", "index", node)


def _table2_row_twice(desk: Desk) -> Error:
    _, row, _ = desk.program()
    copy = dict(row)
    desk.table("table2").append(copy)
    return Error("duplicate", "table2.csv", "name", copy)


def _dangling_parent(desk: Desk) -> Error:
    node = desk.plain_node()
    node["parent"] = int(desk.rng.integers(5000, 9000))
    return Error("reference", "tree.json", "parent", node)


def _late_parent(desk: Desk) -> Error:
    node = desk.plain_node()
    node["parent"] = desk.paper.tree[-5]["index"]
    return Error("reference", "tree.json", "parent", node)


# One file against another.


def _gallery_tree(desk: Desk) -> Error:
    row, _, node = desk.program()
    node["score"] += float(desk.rng.choice([1e-6, 0.1]))
    return Error("mismatch", "gallery.json", "score", row)


def _log_end(desk: Desk) -> Error:
    _, row, _ = desk.program()
    desk.shift(row, "loss_340m", float(desk.rng.choice([-0.0001, 0.02])), 4)
    desk.consistent_delta(row, "loss_340m", 4)
    return Error("mismatch", "table2.csv", "loss_340m", row)


def _table2_gallery(desk: Desk) -> Error:
    _, row, _ = desk.program()
    desk.shift(row, "score_340m", float(desk.rng.choice([0.03, 0.5])), 2)
    desk.consistent_delta(row, "score_340m", 2)
    return Error("mismatch", "table2.csv", "score_340m", row)


def _other_log(desk: Desk) -> Error:
    row, _, _ = desk.program()
    row["result"]["train"] = log_text("net_of_somebody_else", log_cells(row["result"]["train"])[1])
    return Error("mismatch", "gallery.json", "train.name", row)


# Cells.


def _curve_nan(desk: Desk) -> Error:
    row, _, _ = desk.program()
    step = int(desk.rng.choice([700, 2000]))
    desk.edit_log(row, "train", str(step), "nan")
    return Error("missing", CURVES, "loss", row, step=step)


def _table2_empty(desk: Desk) -> Error:
    _, row, _ = desk.program()
    row["score_20m"] = ""
    return Error("missing", "table2.csv", "score_20m", row)


def _tree_text(desk: Desk) -> Error:
    node = desk.plain_node()
    node["score"] = str(node["score"])
    return Error("type", "tree.json", "score", node)


def _table1_text(desk: Desk) -> Error:
    row = desk.pick(desk.table("table1"))
    row["boolq_acc"] = row["boolq_acc"] + "*"
    return Error("type", "table1.csv", "boolq_acc", row)


def _tree_score(desk: Desk) -> Error:
    node = desk.plain_node()
    node["score"] = float(desk.rng.choice([-0.2, 3.4]))
    return Error("range", "tree.json", "score", node)


def _figure6_component(desk: Desk) -> Error:
    row = desk.pick(desk.table("figure6")[5:-5])
    row["benchmark_component"] = "1.0312"
    parts = [float(row[name]) for name in ("agent", "benchmark_component", "loss_component")]
    row["total_score"] = f"{sum(parts) / 3:.4f}"
    return Error("range", "figure6.csv", "benchmark_component", row)


def _filter(desk: Desk) -> Error:
    _, row, _ = desk.program()
    row["loss_20m"] = "4.9311"
    desk.consistent_delta(row, "loss_20m", 4)
    return Error("range", "table2.csv", "loss_20m", row)


def _size(desk: Desk) -> Error:
    row, _, _ = desk.program()
    row["parameters"] = "1.31B"
    return Error("size_class", "gallery.json", "parameters", row)


def _figure1_falls(desk: Desk) -> Error:
    rows = desk.table("figure1")
    row = desk.pick(rows[12:-6])
    position = next(i for i, one in enumerate(rows) if one is row)
    row["cum_sota"] = str(int(rows[position - 3]["cum_sota"]) - 1)
    return Error("series", "figure1.csv", "cum_sota", row)


def _figure1_point(desk: Desk) -> Error:
    """A count between those of its neighbours, but the wrong one."""
    rows = desk.table("figure1")
    counts = [int(row["cum_sota"]) for row in rows]
    wide = [row for i, row in enumerate(rows[6:-6], 6) if counts[i + 1] >= counts[i] + 2]
    row = desk.pick(wide)
    row["cum_sota"] = str(int(row["cum_sota"]) + 2)
    return Error("series", "figure1.csv", "cum_sota", row)


ERRORS: dict[str, Callable[[Desk], Error]] = {
    "difference": _difference,
    "sign": _sign,
    "table1_mean": _table1_mean,
    "gallery_mean": _gallery_mean,
    "figure6_mean": _figure6_mean,
    "table3_share": _table3_share,
    "table3_all": _table3_all,
    "table3_count": _table3_count,
    "figure8_cell": _figure8_cell,
    "table1_share": _table1_share,
    "gallery_share": _gallery_share,
    "table2_share": _table2_share,
    "figure7_share": _figure7_share,
    "table2_row_deleted": _table2_row_deleted,
    "gallery_row_deleted": _gallery_row_deleted,
    "tree_row_deleted": _tree_row_deleted,
    "tree_identifier": _tree_identifier,
    "table2_row_twice": _table2_row_twice,
    "dangling_parent": _dangling_parent,
    "late_parent": _late_parent,
    "gallery_tree": _gallery_tree,
    "log_end": _log_end,
    "table2_gallery": _table2_gallery,
    "other_log": _other_log,
    "curve_nan": _curve_nan,
    "table2_empty": _table2_empty,
    "tree_text": _tree_text,
    "table1_text": _table1_text,
    "tree_score": _tree_score,
    "figure6_component": _figure6_component,
    "filter": _filter,
    "size": _size,
    "figure1_falls": _figure1_falls,
    "figure1_point": _figure1_point,
}
