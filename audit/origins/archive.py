"""The archive of a search as the audit of origins reads it: the tables that `discover` writes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.evidence import printable
from audit.origins.plan import OriginSettings
from audit.statistics.estimate import Floats
from replication.settings import InputError, require

FILES = ("components.csv", "experiments.csv", "programs.jsonl")
COLUMNS = {
    "components.csv": ("experiment", "component", "origin", "labelled_by"),
    "experiments.csv": ("id", "order", "parent", "status", "fitness_strict", "discovery"),
}


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program's text, and what was said of it."""

    motivation: str
    source: str


@dataclass(frozen=True, kw_only=True)
class SearchArchive:
    """A search.

    experiments: one row a proposal, by id: order, parent (NaN: none), fitness_strict (NaN: none), discovery (bool),
    gallery (bool), part (of the order, from 0). components: experiment (id), component, origin, labelled_by; one row a
    component that was new in an experiment. programs: by id.
    """

    name: str
    experiments: pd.DataFrame
    components: pd.DataFrame
    programs: Mapping[int, Program]

    @property
    def labelled_by(self) -> tuple[str, ...]:
        """Who labelled the origins: `truth`, the proposer that knows, or `model`."""
        return tuple(sorted(self.components["labelled_by"].unique()))

    def table(self, column: str, values: tuple[str, ...]) -> pd.DataFrame:
        """Counts of each value of a column of `components`, one row an experiment that has any, by id."""
        counts = pd.crosstab(self.components["experiment"], self.components[column])
        return counts.reindex(columns=list(values), fill_value=0)

    def group(self, ids: pd.Index[int]) -> NDArray[np.bool_]:
        """Whether each of the experiments belongs to the gallery."""
        found: NDArray[np.bool_] = self.experiments.loc[ids, "gallery"].to_numpy(dtype=np.bool_)
        return found

    def matching_weights(self, ids: pd.Index[int], totals: Floats) -> Floats:
        """Weights [experiments] that give the rest the gallery's shares of units in each part of the order.

        1 in the gallery, 1 on average over the units of the rest. A part where only the gallery has units stays without
        a counterpart.
        """
        parts, inside = self.experiments.loc[ids, "part"].to_numpy(), self.group(ids)
        weights = np.ones(len(ids))
        for part in np.unique(parts):
            here = parts == part
            rest = totals[here & ~inside].sum()
            weights[here & ~inside] = totals[here & inside].sum() / rest if rest else 0.0
        total = (weights * totals)[~inside].sum()
        weights[~inside] *= totals[~inside].sum() / total if total else 1.0
        return weights


def read_search_archive(folder: Path, name: str, cfg: OriginSettings) -> SearchArchive:
    """The archive in a folder with `FILES`.

    Raises:
        InputError: a file is missing, cannot be read, lacks a column, or has a row that does not fit the others.
    """
    for file in FILES:
        require((folder / file).is_file(), f"archive: {folder / file} is not there (needed: {', '.join(FILES)})")
    components, experiments = (_table(folder / file) for file in FILES[:2])
    experiments = _experiments(experiments, folder / FILES[1], cfg)
    components["experiment"] = _whole(components["experiment"], folder / FILES[0], "experiment")
    for place, row in enumerate(components.itertuples(), 1):
        known = row.experiment in experiments.index
        require(known, f"{folder / FILES[0]}, row {place}: {FILES[1]} has no experiment {row.experiment}")
    require(not components.empty, f"{folder / FILES[0]}: there are no components to audit")
    origins = {channel.origin for channel in cfg.channels.values()}
    for place, origin in enumerate(components["origin"], 1):
        expected = f"expected one of {', '.join(sorted(origins))}"
        require(origin in origins, f"{folder / FILES[0]}, row {place}: origin {origin!r}; {expected}")
    return SearchArchive(
        name=name,
        experiments=experiments,
        components=components.map(lambda cell: printable(cell) if isinstance(cell, str) else cell),
        programs=_programs(folder / FILES[2]),
    )


def _table(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, keep_default_na=False, dtype=str, encoding="utf-8-sig")
    except (OSError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    for column in COLUMNS[path.name]:
        require(column in table, f"{path}: no column {column!r} (needed: {', '.join(COLUMNS[path.name])})")
    return table[list(COLUMNS[path.name])]


def _experiments(table: pd.DataFrame, path: Path, cfg: OriginSettings) -> pd.DataFrame:
    found = table.assign(
        id=_whole(table["id"], path, "id"),
        order=_number(table["order"], path, "order"),
        parent=_number(table["parent"], path, "parent"),
        fitness_strict=_number(table["fitness_strict"], path, "fitness_strict"),
        discovery=table["discovery"].str.lower() == "true",
    )
    require(not found["id"].duplicated().any(), f"{path}: two rows have the same id")
    found = found.sort_values("order", kind="stable").set_index("id")
    ranks = found["fitness_strict"].rank(ascending=False, method="first")
    found["gallery"] = found["discovery"] if cfg.gallery == "discoveries" else ranks <= cfg.best
    found["part"] = np.arange(len(found)) * cfg.parts // max(1, len(found))
    return found


def _whole(column: pd.Series[Any], path: Path, name: str) -> pd.Series[Any]:
    for place, cell in enumerate(column, 1):
        require(str(cell).isdecimal() and len(str(cell)) < 10, f"{path}, row {place}: {name} is {cell!r}, no number")
    return column.astype(int)


def _number(column: pd.Series[Any], path: Path, name: str) -> pd.Series[Any]:
    """NaN for an empty cell."""
    values = []
    for place, cell in enumerate(column, 1):
        try:
            value = float(cell) if cell.strip() else None
        except ValueError:
            value = math.inf
        good = value is None or math.isfinite(value)
        require(good, f"{path}, row {place}: {name} is {cell!r}, expected a number or nothing")
        values.append(math.nan if value is None else value)
    return pd.Series(values, index=column.index, dtype=np.float64)


def _programs(path: Path) -> dict[int, Program]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    found = {}
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            texts = Program(motivation=row["motivation"], source=row["source"])
            good = (
                isinstance(texts.motivation, str) and isinstance(texts.source, str) and isinstance(row["number"], int)
            )
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise InputError(f"{path}, line {place}: no program of an archive ({error})") from error
        require(good, f"{path}, line {place}: number, motivation and source should be a number and two texts")
        found[row["number"]] = texts
    return found
