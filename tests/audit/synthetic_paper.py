"""A made-up paper in the form of ASI-Arch's published files, consistent in itself: counts first, everything printed
from them."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NODES, PROGRAMS, CATEGORIES = 1773, 106, 39
ITEMS = {
    "arc_challenge": 1172,
    "arc_easy": 2376,
    "boolq": 3270,
    "hellaswag": 10042,
    "lambada_openai": 5153,
    "piqa": 1838,
    "social_iqa": 1954,
    "winogrande": 1267,
}
TABLE1 = {
    "lambada_acc": "lambada_openai",
    "piqa_acc": "piqa",
    "hellaswag_acc_norm": "hellaswag",
    "winogrande_acc": "winogrande",
    "arc_easy_acc": "arc_easy",
    "arc_challenge_acc_norm": "arc_challenge",
    "social_iqa_acc": "social_iqa",
    "boolq_acc": "boolq",
}
STEPS = [1, *range(100, 2001, 100)]
REFERENCE = "Gated DeltaNet (Baseline)"
Row = dict[str, Any]


@dataclass
class Paper:
    """Rows of each file; CSV cells are texts. `linear`: figure 1's axis is a line of the index."""

    tables: dict[str, list[Row]]
    tree: list[Row]
    gallery: list[Row]


def synthetic_paper(seed: int, *, linear: bool = True) -> Paper:
    rng = np.random.default_rng(seed)
    tree = _tree(rng)
    indices = np.sort(rng.choice(np.arange(60, NODES), PROGRAMS, replace=False))
    programs = [_program(rng, tree[index - 1]) for index in indices]
    table2 = _table2(rng, programs)
    tables = {
        "table1": _table1(rng),
        "table2": table2,
        "table3": _table3(rng),
        "figure1": _figure1(rng, indices, linear),
        "figure6": _figure6(rng),
        "figure7": _figure7(rng),
        "figure8": _figure8(rng),
    }
    gallery = [program["row"] for program in programs]
    return Paper(tables, tree, [gallery[i] for i in rng.permutation(PROGRAMS)])


def write_paper(paper: Paper, folder: Path) -> None:
    for name, rows in paper.tables.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    (folder / "tree.json").write_text(json.dumps({"total_records": len(paper.tree), "results": paper.tree}))
    (folder / "gallery.json").write_text(json.dumps(paper.gallery))


def log_text(name: str, cells: dict[str, str]) -> str:
    return "," + ",".join(cells) + "\n" + name + "," + ",".join(cells.values())


def log_cells(text: str) -> tuple[str, dict[str, str]]:
    header, row = text.split("\n")
    name, *cells = row.split(",")
    return name, dict(zip(header.split(",")[1:], cells, strict=True))


def _tree(rng: np.random.Generator) -> list[Row]:
    return [
        {
            "index": index,
            "name": f"net_{index}",
            "parent": None if index == 1 else int(rng.integers(max(1, index - 60), index)),
            "score": float(rng.uniform(0.3, 2.75)),
            "name_new": f"Made{rng.choice(['Path', 'Gate_', 'Mix-', 'Flow '])}Net{index}",
        }
        for index in range(1, NODES + 1)
    ]


def _program(rng: np.random.Generator, node: Row) -> dict[str, Any]:
    """The gallery's row, and the unrounded numbers behind it."""
    right = {task: int(rng.binomial(n, rng.uniform(0.42, 0.6))) for task, n in ITEMS.items()}
    shares = {task: right[task] / ITEMS[task] for task in ITEMS}
    test = {task: _short(share, 4) for task, share in shares.items()}
    test |= {"lam_ppl": _short(rng.uniform(30, 50), 2), "wikitext": _short(rng.uniform(20, 30), 2)}
    test["average"] = _short(float(np.mean(list(shares.values()))), 4)
    losses = np.sort(rng.uniform(3.5, 10.5, len(STEPS)))[::-1] - 0.1
    losses[-1] = rng.uniform(3.3, 3.39)
    train = {str(step): _short(loss, 4) for step, loss in zip(STEPS, losses, strict=True)}
    row = {
        "name": node["name"],
        "result": {"train": log_text(node["name"], train), "test": log_text(node["name"], test)},
        "program": "pass",
        "motivation": f"Made up for {node['name']}.",
        "svg_picture": "<svg/>",
        "index": node["index"],
        "parent": node["parent"],
        "name_new": node["name_new"],
        "summary": "Nothing.",
        "parameters": f"{rng.uniform(410, 590):.2f}M",
        "score": node["score"],
    }
    seven = float(np.mean([share for task, share in shares.items() if task != "lambada_openai"]))
    return {"row": row, "loss": float(losses[-1]), "score": 100 * seven}


def _table2(rng: np.random.Generator, programs: list[dict[str, Any]]) -> list[Row]:
    """Differences are printed from unrounded numbers."""
    numbers = [("DeltaNet (Baseline)", 4.61, 1281 / 35, 3.52, 38.13), (REFERENCE, 4.60, 1285 / 35, 3.50, 38.71)]
    numbers += [
        (
            program["row"]["name_new"].replace("_", " "),
            float(rng.uniform(4.2, 4.55)),
            int(rng.integers(1290, 1390)) / 35,
            program["loss"],
            program["score"],
        )
        for program in programs
    ]
    reference = numbers[1]
    columns = (("loss_20m", 4), ("score_20m", 2), ("loss_340m", 4), ("score_340m", 2))
    rows = []
    for number, (name, *values) in enumerate(numbers):
        row: Row = {"name": name}
        for (column, decimals), value, other in zip(columns, values, reference[1:], strict=True):
            row[column] = f"{value:.{decimals}f}"
            row[f"delta_{column}_printed"] = "" if number < 2 else f"{value - other:+.{decimals}f}"
        rows.append(row)
    return rows


def _table1(rng: np.random.Generator) -> list[Row]:
    rows = []
    for number in range(8):
        shares = {column: rng.binomial(ITEMS[task], 0.5) / ITEMS[task] for column, task in TABLE1.items()}
        row: Row = {"model": f"Made{number}", "type": "human" if number < 3 else "ai"}
        row |= {"wikitext_ppl": f"{rng.uniform(26, 28):.2f}", "lambada_ppl": f"{rng.uniform(33, 42):.2f}"}
        row |= {column: f"{100 * share:.2f}" for column, share in shares.items()}
        rows.append(row | {"avg_printed": f"{100 * np.mean(list(shares.values())):.2f}"})
    return rows


def _table3(rng: np.random.Generator) -> list[Row]:
    """Ten components an architecture, so that architectures are the right weights."""
    counts = {"Model Gallery": PROGRAMS, "Others": NODES - PROGRAMS}
    parts = {group: rng.multinomial(10 * n, [0.4, 0.5, 0.1]) for group, n in counts.items()}
    counts["All"], parts["All"] = NODES, parts["Model Gallery"] + parts["Others"]
    columns = ("experience_pct", "cognition_pct", "originality_pct")
    return [
        {"group": group, "n_architectures": str(n)}
        | {column: f"{10 * part / n:.1f}" for column, part in zip(columns, parts[group], strict=True)}
        for group, n in counts.items()
    ]


def _figure1(rng: np.random.Generator, indices: np.ndarray, linear: bool) -> list[Row]:
    hours = np.arange(0, 7001, 200)
    scale = rng.uniform(3.7, 3.9)
    placed = scale * indices if linear else 6900 * (indices / NODES) ** 1.7 + np.sort(rng.uniform(0, 90, len(indices)))
    return [{"hours": str(hour), "cum_sota": str(int((placed <= hour).sum()))} for hour in hours]


def _figure6(rng: np.random.Generator) -> list[Row]:
    samples = np.arange(200, 1801, 50)
    rise = 1 - np.exp(-np.arange(len(samples)) / 6)
    parts = {
        name: low + (high - low) * rise
        for name, low, high in (
            ("agent", 0.6, 0.75),
            ("benchmark_component", 0.8, 0.98),
            ("loss_component", 0.47, 0.94),
        )
    }
    total = np.mean(list(parts.values()), axis=0)
    columns = {"raw_benchmark": 0.23 + 0.01 * rise, "total_score": total} | parts | {"raw_loss": 4.6 - 0.2 * rise}
    return [
        {"cumulative_samples": str(sample)} | {name: _short(values[i], 4) for name, values in columns.items()}
        for i, sample in enumerate(samples)
    ]


def _figure7(rng: np.random.Generator) -> list[Row]:
    """Read off a graphic: a unit of the last digit too much or too little."""
    shares = np.sort(rng.dirichlet(np.full(CATEGORIES, 0.7)))[::-1]
    columns = {"gallery_pct": int(rng.integers(520, 600)), "remains_pct": int(rng.integers(7600, 8300))}
    parts = {name: rng.multinomial(n, shares) for name, n in columns.items()}
    read = {
        name: np.maximum(np.round(100 * parts[name] / n, 3) + 0.001 * rng.integers(-1, 2, CATEGORIES), 0)
        for name, n in columns.items()
    }
    return [
        {"category": f"Category {i}"} | {name: _short(values[i], 3) for name, values in read.items()}
        for i in range(CATEGORIES)
    ]


def _figure8(rng: np.random.Generator) -> list[Row]:
    bins = ("lt600M", "600-800M", "800-1000M", "1000-1200M", "gt1200M")
    rows = []
    for name in ("0-350", "350-700", "700-1050", "1050-1400", "1400-end"):
        parts = rng.multinomial(350, [0.6, 0.25, 0.07, 0.02, 0.06]) / 350
        rows.append({"sample_bin": name} | {column: _short(part, 2) for column, part in zip(bins, parts, strict=True)})
    return rows


def _short(value: float, decimals: int) -> str:
    """As a program writes it: without trailing zeros."""
    return repr(round(float(value), decimals))
