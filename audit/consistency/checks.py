"""The consistency checks by name, and a list of them from a configuration run over published sheets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audit.consistency import arithmetic, granularity, identifiers, joins, series, values
from audit.consistency.inconsistency import Checked
from audit.sheets import Sheets
from replication.settings import InputError, require, typed


@dataclass(frozen=True)
class ConsistencyCheck:
    """A check that a configuration can name: its parameters (a frozen dataclass without defaults), and what it does."""

    parameters: type[Any]
    run: Callable[[Sheets, Any], Checked]


CONSISTENCY: Mapping[str, ConsistencyCheck] = {
    "differences": ConsistencyCheck(arithmetic.Differences, arithmetic.differences),
    "row_means": ConsistencyCheck(arithmetic.RowMeans, arithmetic.row_means),
    "row_totals": ConsistencyCheck(arithmetic.RowTotals, arithmetic.row_totals),
    "column_totals": ConsistencyCheck(arithmetic.ColumnTotals, arithmetic.column_totals),
    "weighted_totals": ConsistencyCheck(arithmetic.WeightedTotals, arithmetic.weighted_totals),
    "formula": ConsistencyCheck(arithmetic.Formula, arithmetic.formula),
    "percentages": ConsistencyCheck(granularity.Percentages, granularity.percentages),
    "grim": ConsistencyCheck(granularity.Grim, granularity.grim),
    "granularity": ConsistencyCheck(granularity.Granularity, granularity.granularity),
    "on_grid": ConsistencyCheck(granularity.OnGrid, granularity.on_grid),
    "row_count": ConsistencyCheck(identifiers.RowCount, identifiers.row_count),
    "unique": ConsistencyCheck(identifiers.Unique, identifiers.unique),
    "complete": ConsistencyCheck(identifiers.Complete, identifiers.complete),
    "gaps": ConsistencyCheck(identifiers.Gaps, identifiers.gaps),
    "references": ConsistencyCheck(identifiers.References, identifiers.references),
    "joined": ConsistencyCheck(joins.Joined, joins.joined),
    "log_end": ConsistencyCheck(joins.LogEnd, joins.log_end),
    "in_range": ConsistencyCheck(values.InRange, values.in_range),
    "ordered": ConsistencyCheck(values.Ordered, values.ordered),
    "compare_columns": ConsistencyCheck(values.CompareColumns, values.compare_columns),
    "size_class": ConsistencyCheck(values.SizeClass, values.size_class),
    "cumulative_series": ConsistencyCheck(series.CumulativeSeries, series.cumulative_series),
    "derived_axis": ConsistencyCheck(series.DerivedAxis, series.derived_axis),
}


@dataclass(frozen=True, kw_only=True)
class ConsistencyEntry:
    """One check of a configuration. parameters: of the type that the check asks for."""

    id: str
    check: str
    parameters: Any


@dataclass(frozen=True, kw_only=True)
class ConsistencyResults:
    """Results by the entry's id, and the reason of each that could not be run."""

    checked: Mapping[str, Checked]
    not_run: Mapping[str, str]


def read_entries(entries: object, where: str) -> list[ConsistencyEntry]:
    """The list `consistency` of a configuration, which stands at `where` in it.

    Raises:
        InputError: an entry is not a mapping of id, check and parameters, an id repeats, or the check or one of its
            parameters is not known; names the entry.
    """
    require(isinstance(entries, Sequence) and not isinstance(entries, str), f"{where}: expected a list of checks")
    assert isinstance(entries, Sequence)
    read: dict[str, ConsistencyEntry] = {}
    for number, entry in enumerate(entries):
        here = f"{where}[{number}]"
        require(
            isinstance(entry, Mapping) and set(entry) == {"id", "check", "parameters"},
            f"{here}: expected id, check and parameters",
        )
        name, check = str(entry["id"]), entry["check"]
        require(name not in read, f"{here}: id {name!r} stands there twice")
        require(check in CONSISTENCY, f"{here} ({name}): no check {check!r} (known: {', '.join(CONSISTENCY)})")
        parameters = typed(CONSISTENCY[check].parameters, entry["parameters"], f"{here} ({name}).parameters")
        read[name] = ConsistencyEntry(id=name, check=check, parameters=parameters)
    return list(read.values())


def consistency(sheets: Sheets, entries: Sequence[ConsistencyEntry]) -> ConsistencyResults:
    """Every entry, in order. One whose file, column or named row is not there is listed with that reason."""
    checked, not_run = {}, {}
    for entry in entries:
        try:
            checked[entry.id] = CONSISTENCY[entry.check].run(sheets, entry.parameters)
        except InputError as error:
            not_run[entry.id] = str(error)
    return ConsistencyResults(checked=checked, not_run=not_run)
