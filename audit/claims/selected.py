"""Models said to be the best of many: are they, by what was released?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.claims.arms import Arms, Column, matches, name_key, split
from audit.claims.filters import Direction
from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.consistency.inconsistency import Inconsistency
from audit.finding import Verdict
from audit.sheets import Sheet
from audit.wording import number, plural


@dataclass(frozen=True, kw_only=True)
class RankedTop:
    """Members said to be the `top` of all. members: their identifiers. key, score: columns of the table of all.

    ranked_by: what they are said to be ranked by; empty: not said, and then another ranking is not excluded.
    """

    members: Column
    sheet: str
    key: str
    score: str
    top: int
    ranked_by: str


def ranked_top(evidence: ClaimEvidence, p: RankedTop, decision: Decision) -> Outcome:
    """Are the members the `top` highest of all by the released score? Ties are resolved in their favour."""
    members, everyone = evidence.sheets[p.members.sheet], evidence.sheets[p.sheet]
    scores = pd.Series(everyone.numbers(p.score).to_numpy(), index=everyone.column(p.key).map(str))
    scores = scores[~scores.index.duplicated()].dropna()
    ranks = scores.rank(ascending=False, method="min")
    table = pd.DataFrame({"file": members.file, "row": members.cells.index, p.key: members.column(p.members.column)})
    keys = members.column(p.members.column).map(str).to_numpy()
    table["score"] = scores.reindex(keys).to_numpy()
    table["rank"] = ranks.reindex(keys).to_numpy()
    inside = int((table["rank"] <= p.top).sum())
    unknown = int(table["rank"].isna().sum())
    luck = len(table) * p.top / max(len(scores), 1)
    verdict: Verdict = "supported"
    if inside < len(table) - unknown:
        verdict = "contradicted" if p.ranked_by else "inconclusive"
    return Outcome(
        answer=(
            f"{inside} of {len(table)} members are among the {p.top} highest of {len(scores)} by the released score "
            f"(as many drawn at random: {number(luck, 1)}); their ranks run from {number(table['rank'].min(), 0)} to "
            f"{number(table['rank'].max(), 0)}, median {number(table['rank'].median(), 0)}. The score is the only "
            "ranking released for all; the members may be the best by another, unreleased one."
            + (f" {plural(unknown, 'member')} have no released score." if unknown else "")
        ),
        verdict="inconclusive" if unknown and verdict == "supported" else verdict,
        method="Ranks by the released score, ties counted in the members' favour. A count, so no interval.",
        estimate=float(inside),
        unit=f"of {len(table)} members in the top {p.top}",
        n=len(table),
        rows=table,
        details={"unknown": unknown, "by_chance": luck, "of": len(scores)},
    )


@dataclass(frozen=True, kw_only=True)
class SelectedBest:
    """Finalists (candidates of `finalists`) said to be the best of a pool (candidates of `pool`).

    better: columns of the pool -> better direction. elsewhere: columns in which a finalist that is not in the pool is
    looked for.
    """

    finalists: Arms
    pool: Arms
    better: dict[str, Direction]
    elsewhere: tuple[Column, ...]


def selected_best(evidence: ClaimEvidence, p: SelectedBest, decision: Decision) -> Outcome:
    """Can the finalists be the top of the pool by any criterion that grows with every column?

    A finalist that k or more models of the pool surpass in every column is not among the top k by any such criterion.
    """
    finalists, pool = split(evidence.sheets, p.finalists), split(evidence.sheets, p.pool)
    top = len(finalists.candidates)
    found = matches(finalists.sheet, finalists.label, pool.sheet, pool.label)
    values = np.column_stack(
        [
            pool.sheet.numbers(name).loc[pool.candidates].to_numpy() * (1.0 if way == "higher" else -1.0)
            for name, way in p.better.items()
        ]
    )
    ranks = pd.DataFrame(values, index=pool.candidates).rank(ascending=False, method="min")
    rows = []
    for row, name in zip(finalists.candidates, finalists.names(finalists.candidates), strict=True):
        at = [other for other in found[row] if other in pool.candidates]
        above = [int((values > values[pool.candidates.index(other)]).all(axis=1).sum()) for other in at]
        entry = {"file": finalists.sheet.file, "row": row, "finalist": name, "pool_rows": " ".join(map(str, at))}
        entry |= {f"rank_{key}": ranks.loc[at, i].min() if at else np.nan for i, key in enumerate(p.better)}
        entry["surpassed_by"] = min(above) if above else np.nan
        entry["elsewhere"] = _elsewhere(evidence, p.elsewhere, name)
        rows.append(entry)
    table = pd.DataFrame(rows)
    table["outcome"] = _outcomes(table, list(p.better), top)
    missing = table[table["outcome"] == "not in the pool"]
    return Outcome(
        answer=_selected_answer(table, missing, top, pool.sheet, len(pool.candidates), list(p.better)),
        verdict=_selected_verdict(list(table["outcome"])),
        method=(
            f"Finalists joined to the pool by name. One that {top} models or more surpass in all of "
            f"{', '.join(p.better)} cannot be in the top by any criterion that rises with them. Values as printed, one "
            "run each."
        ),
        estimate=float((table["outcome"] == "top").sum()),
        unit=f"of {top} finalists in the top {top} of the pool by one of the columns",
        n=top,
        rows=table,
        inconsistencies=tuple(_missing(finalists.sheet, finalists.label, missing, pool.sheet)),
        details={"pool": len(pool.candidates), "not_in_pool": list(missing["finalist"])},
    )


def _outcomes(table: pd.DataFrame, columns: Sequence[str], top: int) -> list[str]:
    best = table[[f"rank_{name}" for name in columns]].min(axis=1)
    return [
        "not in the pool" if np.isnan(above) else "surpassed" if above >= top else "top" if rank <= top else "between"
        for above, rank in zip(table["surpassed_by"], best, strict=True)
    ]


def _selected_verdict(outcomes: Sequence[str]) -> Verdict:
    if "surpassed" in outcomes:
        return "contradicted"
    return "supported" if all(outcome == "top" for outcome in outcomes) else "inconclusive"


def _selected_answer(
    table: pd.DataFrame, missing: pd.DataFrame, top: int, pool: Sheet, size: int, columns: Sequence[str]
) -> str:
    parts = [
        f"Of {top} finalists, {len(table) - len(missing)} are found by name among the {size} models of {pool.file}."
    ]
    for entry in table[table["outcome"] != "not in the pool"].to_dict("records"):
        ranks = ", ".join(f"{number(entry[f'rank_{name}'], 0)} by {name}" for name in columns)
        parts.append(
            f"{entry['finalist']} ranks {ranks}, and {plural(int(entry['surpassed_by']), 'model')} surpass it in all."
        )
    if len(missing):
        parts.append(f"Not found there under their names: {', '.join(missing['finalist'])}.")
    return " ".join([*parts, "The choice may have used other criteria, which were not released."])


def _elsewhere(evidence: ClaimEvidence, columns: Sequence[Column], name: str) -> str:
    """Where else a finalist's name stands: `file: rows`."""
    places = []
    for place in columns:
        sheet = evidence.sheets[place.sheet]
        rows = [str(row) for row, other in sheet.column(place.column).items() if name_key(other) == name_key(name)]
        places += [f"{sheet.file}: {' '.join(rows)}"] if rows else []
    return "; ".join(places)


def _missing(sheet: Sheet, label: str, missing: pd.DataFrame, pool: Sheet) -> list[Inconsistency]:
    return [
        Inconsistency(
            kind="missing",
            file=sheet.file,
            row=int(entry["row"]),
            column=label,
            printed=str(entry["finalist"]),
            recomputed="",
            note=f"no such name in {pool.file}"
            + (f", but in {entry['elsewhere']}" if entry["elsewhere"] else " or any other released table"),
        )
        for entry in missing.to_dict("records")
    ]
