"""Claims on how many records there are, and how they hang together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.reading import EXACT, located, verdict
from audit.claims.tree import Tree, read_tree
from audit.consistency.identifiers import missing_runs, whole_numbers, wrong_count
from audit.sheets import Sheet
from audit.wording import count, plural

SHOWN = 30  # missing identifiers that an answer names one by one
STATED = "number of records, against the number that the paper states"


@dataclass(frozen=True, kw_only=True)
class CountParameters:
    """sheet: the records. identifier: column of whole numbers that should run without gaps. name: column of names.

    stated: records that there should be, besides rows whose name is in `not_counted`. exhaustive: the file is said to
    hold them all, so that fewer contradict the number; else some may just not have been released.
    """

    sheet: str
    identifier: str | None
    name: str
    not_counted: tuple[str, ...]
    stated: int
    exhaustive: bool


def record_count(evidence: ClaimEvidence, p: CountParameters, _decision: Decision) -> Outcome:
    """Records of a file against the stated number; gaps and repetitions are told, and do not decide."""
    sheet = evidence.sheets[p.sheet]
    names = sheet.column(p.name)
    kept = names[~names.isin(p.not_counted)]
    repeated = kept[kept.duplicated(keep=False) & kept.notna()]
    details: dict[str, object] = {"stated": p.stated, "records": len(kept), "distinct_names": int(kept.nunique())}
    answer = (
        f"{sheet.file} holds {count(len(kept))} records, stated are {count(p.stated)}; "
        f"{kept.nunique()} different names, {len(repeated)} rows share theirs with another."
    )
    if p.identifier is not None:
        missing, last = _missing(sheet, p.identifier)
        named = ", ".join(map(str, missing[:SHOWN])) + (", ..." if len(missing) > SHOWN else "")
        answer += f" Identifiers run to {last}; missing: {len(missing)}" + (f" ({named})." if missing else ".")
        details |= {"missing_identifiers": missing, "last_identifier": last}
    answer += " It does not show what was run and not released."
    enough = len(kept) == p.stated
    return Outcome(
        answer=answer,
        verdict=verdict(supported=enough, contradicted=len(kept) > p.stated or (p.exhaustive and not enough)),
        method=EXACT,
        estimate=float(len(kept)),
        unit="records",
        n=len(kept),
        rows=located(sheet, repeated.to_frame(p.name)),
        inconsistencies=wrong_count(sheet, len(kept), p.stated, STATED),
        details=details,
    )


def _missing(sheet: Sheet, column: str) -> tuple[list[int], int]:
    """Whole numbers from 1 to the largest of a column that are not in it, and that largest (0: there is none)."""
    known = whole_numbers(sheet, column)
    last = max({0, *known})
    if last > 100 * len(sheet.cells):  # one absurd identifier is no run of numbers
        return [], last
    return [number for low, high in missing_runs(known, 1, last) for number in range(low, high + 1)], last


@dataclass(frozen=True, kw_only=True)
class RootParameters:
    """root: the stated name of the root. stated: nodes that the tree should have."""

    root: str
    stated: int


def tree_root(evidence: ClaimEvidence, p: RootParameters, _decision: Decision) -> Outcome:
    """Whether the released tree has one root, of the stated name, that every node descends from, and all nodes."""
    sheet = evidence.sheets["tree"]
    tree = read_tree(sheet)
    roots = sheet.cells.loc[tree.rows[tree.parent == -1]]
    names = [str(name) for name in roots["name_new"]]
    later = int((tree.parent >= np.arange(len(tree.parent))).sum())
    connected = len(names) == 1 and later == 0 and not tree.dangling
    right = connected and names == [p.root]
    complete = len(sheet.cells) == p.stated
    shape = f"one root, {names[0]}, from which all others descend" if connected else _disorder(tree, names, later)
    answer = f"The released tree has {shape}. It holds {count(len(sheet.cells))} nodes, stated are {count(p.stated)}."
    return Outcome(
        answer=answer,
        verdict=verdict(supported=right and complete, contradicted=not right or len(sheet.cells) > p.stated),
        method=EXACT,
        estimate=float(len(sheet.cells)),
        unit="nodes",
        n=len(sheet.cells),
        rows=located(sheet, roots[["index", "name_new", "score"]]),
        inconsistencies=wrong_count(sheet, len(sheet.cells), p.stated, STATED),
        details={"roots": names, "parents_not_earlier": later, "parents_missing": tree.dangling, "stated": p.stated},
    )


def _disorder(tree: Tree, names: list[str], later: int) -> str:
    dangling = plural(tree.dangling, "node")
    return (
        f"{plural(len(names), 'root')}, {dangling} with a parent that is not there, {later} with one that comes later"
    )


RECORD_CHECKS = {
    "record_count": ClaimCheck(CountParameters, record_count),
    "tree_root": ClaimCheck(RootParameters, tree_root),
}
