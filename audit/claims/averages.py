"""What a printed average is the average of, and what printed differences are relative to."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from audit.claims.arms import Arms, matches, need, split
from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.consistency.granularity import compatible_counts
from audit.finding import Verdict
from audit.sheets import Printed, Sheet
from audit.statistics.estimate import Floats
from audit.wording import count, number
from replication.settings import require

ROUNDING = 1e-9  # of a unit: printed decimals are not exact in binary


@dataclass(frozen=True, kw_only=True)
class AverageOf:
    """A column of averages, and the released columns that may have gone into it.

    arms: the table with the averages in `column`, joined by its label to `name` of the sheet `programs`. tasks: columns
    of that sheet. unit: a task's 1 as the average prints it (100: per cent). size: tasks stated. search: a column whose
    averages come from `items_each` items of as many tasks, on whose grid they must lie; most: counts tried.
    """

    arms: Arms
    column: str
    programs: str
    name: str
    tasks: tuple[str, ...]
    unit: float
    size: int
    search: str
    items_each: int
    most: int


def average_of(evidence: ClaimEvidence, p: AverageOf, decision: Decision) -> Outcome:
    """Which sets of tasks reproduce the printed averages, within the rounding of all printed numbers?"""
    rows, programs = split(evidence.sheets, p.arms), evidence.sheets[p.programs]
    joined = matches(rows.sheet, rows.label, programs, p.name)
    averages, half = _values(rows.sheet, p.column)
    tasks, halves = zip(*(_values(programs, task) for task in p.tasks), strict=True)
    scores, errors = p.unit * np.column_stack(tasks), p.unit * np.column_stack(halves)
    position = {int(row): i for i, row in enumerate(programs.cells.index)}
    at = {int(row): i for i, row in enumerate(rows.sheet.cells.index)}
    pairs = [(at[row], position[other]) for row in rows.candidates for other in joined[row]]
    need(bool(pairs), f"no row of {rows.sheet.file} has the name of a program in {programs.file}")
    ours, theirs = (np.asarray(side) for side in zip(*pairs, strict=True))
    reproduced = {}
    for size in range(1, len(p.tasks) + 1):
        for subset in combinations(range(len(p.tasks)), size):
            gap = np.abs(scores[theirs][:, subset].mean(axis=1) - averages[ours])
            fits = gap <= half[ours] + errors[theirs][:, subset].mean(axis=1) + ROUNDING
            reproduced[subset] = len(set(ours[fits]))
    total, best = len(set(ours)), max(reproduced.values())
    winners = [subset for subset, rows_fitted in reproduced.items() if rows_fitted == best]
    grid = _grid(rows.sheet, p)
    return Outcome(
        answer=_average_answer(p, winners, best, total, grid),
        verdict=_average_verdict(p, winners, best, total, grid),
        method=(
            f"Every set of the {len(p.tasks)} released task columns averaged and compared with the printed mean, "
            "within the rounding of both, joined by name (a name that several programs share may match any of them); "
            f"and every printed mean of {p.search} tried on the grid of each number of items up to {p.most}."
        ),
        estimate=float(best),
        unit=f"of {total} printed averages reproduced",
        n=total,
        rows=_subset_table(p, reproduced, programs.file),
        details={"best": [[p.tasks[i] for i in subset] for subset in winners[:10]], "grid": grid},
    )


def _values(sheet: Sheet, column: str) -> tuple[Floats, Floats]:
    """Values and half units of the last printed digit [rows]; NaN where there is no number."""
    cells: list[Printed | None] = list(sheet.printed(column))
    value = [np.nan if cell is None else cell.value for cell in cells]
    half = [np.nan if cell is None else cell.half for cell in cells]
    return np.asarray(value, dtype=np.float64), np.asarray(half, dtype=np.float64)


def _grid(sheet: Sheet, p: AverageOf) -> dict[str, int | bool]:
    cells: list[Printed] = [cell for cell in sheet.printed(p.search) if cell is not None]
    possible = [cell for cell in cells if 0.0 <= cell.value <= p.unit and cell.half > 0.0]
    fits = compatible_counts(possible, p.most) if possible and len(possible) == len(cells) else []
    stated = p.size * p.items_each
    return {
        "stated": stated,
        "stated_fits": stated in fits,
        "smallest": min(fits, default=0),
        "fitting_up_to_stated": sum(n <= stated for n in fits),
        "values": len(cells),
    }


def _average_verdict(
    p: AverageOf, winners: list[tuple[int, ...]], best: int, total: int, grid: dict[str, int | bool]
) -> Verdict:
    sizes = {len(subset) for subset in winners}
    if best == total and sizes == {p.size} and grid["stated_fits"]:
        return "supported"
    return "contradicted" if best == total and p.size not in sizes else "inconclusive"


def _average_answer(
    p: AverageOf, winners: list[tuple[int, ...]], best: int, total: int, grid: dict[str, int | bool]
) -> str:
    left = [", ".join(task for i, task in enumerate(p.tasks) if i not in subset) or "none" for subset in winners[:3]]
    sets = "one set" if len(winners) == 1 else f"{len(winners)} sets"
    return (
        f"{best} of {total} printed averages are reproduced by the mean of {len(winners[0])} of the {len(p.tasks)} "
        f"released tasks, by {sets} of tasks (left out: {' or '.join(left)}). The averages of {p.search} "
        f"{'all fit' if grid['stated_fits'] else 'do not all fit'} {p.size} tasks of {p.items_each} items: the "
        f"smallest number of items that fits all {grid['values']} of them is {grid['smallest']}, and of the numbers up "
        f"to {grid['stated']}, {grid['fitting_up_to_stated']} fit. Which tasks those were is not shown by the grid."
    )


def _subset_table(p: AverageOf, reproduced: dict[tuple[int, ...], int], file: str) -> pd.DataFrame:
    rows = [
        {"file": file, "tasks": len(subset), "columns": " ".join(p.tasks[i] for i in subset), "reproduced": fitted}
        for subset, fitted in reproduced.items()
    ]
    return pd.DataFrame(rows).sort_values("reproduced", ascending=False, kind="stable", ignore_index=True)


@dataclass(frozen=True, kw_only=True)
class DifferenceReference:
    """Printed differences and the baseline they are said to be relative to.

    differences: column of differences -> column of values. reference: the stated baseline; the others of `arms` are
    tried as well. misprints: share of cells that may fail without the reference being another.
    """

    arms: Arms
    differences: dict[str, str]
    reference: str
    misprints: float


def difference_reference(evidence: ClaimEvidence, p: DifferenceReference, decision: Decision) -> Outcome:
    """Which baseline's row do the printed differences follow, within the rounding of all printed numbers?"""
    rows = split(evidence.sheets, p.arms)
    require(p.reference in p.arms.baselines, f"reference: {p.reference!r} is not one of the baselines")
    found = []
    for baseline, name in zip(rows.baselines, rows.names(rows.baselines), strict=True):
        for difference, column in p.differences.items():
            printed, half = _values(rows.sheet, difference)
            values, halves = _values(rows.sheet, column)
            at = rows.sheet.cells.index.get_loc(baseline)
            recomputed = values - values[at]
            fits = np.abs(recomputed - printed) <= half + halves + halves[at] + ROUNDING
            for i, row in enumerate(rows.sheet.cells.index):
                if row in rows.candidates and np.isfinite(printed[i]):
                    found.append((rows.sheet.file, row, difference, name, printed[i], recomputed[i], bool(fits[i])))
    cells = pd.DataFrame(found, columns=["file", "row", "column", "baseline", "printed", "recomputed", "fits"])
    need(not cells.empty, f"{rows.sheet.file} has no printed differences")
    shares = cells.groupby("baseline")["fits"].agg(["sum", "size"])
    fitted, of = int(shares.loc[p.reference, "sum"]), int(shares.loc[p.reference, "size"])
    others = {str(name): int(row["sum"]) for name, row in shares.iterrows() if name != p.reference}
    wrong = cells[(cells["baseline"] == p.reference) & ~cells["fits"]]
    return Outcome(
        answer=(
            f"{count(fitted)} of {count(of)} printed differences are those to {p.reference}, within rounding; "
            + ", ".join(f"{amount} fit {name}" for name, amount in others.items())
            + "."
            + "".join(
                f" Row {row.row}, {row.column}: {row.printed:+g} is printed, {number(row.recomputed, 4)} recomputed."
                for row in wrong.head(5).itertuples()
            ).replace("-", "−")
        ),
        verdict=_reference_verdict(fitted, of, others, p.misprints),
        method="Printed difference against value less baseline's value, within half a unit of each of the three.",
        estimate=float(fitted),
        unit=f"of {of} printed differences",
        n=of,
        rows=cells[cells["baseline"] == p.reference].reset_index(drop=True),
        details={"others": others, "misprints": len(wrong)},
    )


def _reference_verdict(fitted: int, of: int, others: dict[str, int], misprints: float) -> Verdict:
    if any(amount > fitted for amount in others.values()):
        return "contradicted"
    return (
        "supported" if fitted >= (1.0 - misprints) * of and fitted > max(others.values(), default=0) else "inconclusive"
    )
