"""Counts that a paper states against the rows, columns and programs that were released."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from audit.claims.arms import Arms, Column, name_key, split
from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.finding import Verdict
from audit.wording import plural


@dataclass(frozen=True, kw_only=True)
class TableShape:
    """A table's stated size.

    models: stated number of models; with_baselines: whether the baselines are among them. metrics: the columns stated;
    None: not stated. programs: names of released programs that the table should hold, if any were released. open_part:
    what else the claim says that no released data can show; empty: nothing.
    """

    arms: Arms
    models: int
    with_baselines: bool
    metrics: tuple[str, ...] | None
    programs: Column | None
    open_part: str


def table_shape(evidence: ClaimEvidence, p: TableShape, decision: Decision) -> Outcome:
    """Has the table as many models, and the columns, as stated?"""
    rows = split(evidence.sheets, p.arms)
    counted = rows.candidates + (rows.baselines if p.with_baselines else [])
    absent = [name for name in p.metrics or () if name not in rows.sheet.cells.columns]
    gaps = [
        name for name in p.metrics or () if name not in absent and rows.sheet.numbers(name).loc[counted].isna().any()
    ]
    parts = [f"{rows.sheet.file} holds {plural(len(counted), 'model')}; {p.models} are stated."]
    if p.metrics is not None:
        parts.append(
            f"Of the {len(p.metrics)} stated metrics, {len(p.metrics) - len(absent)} are columns"
            + (f", {len(gaps)} with gaps ({', '.join(gaps)})." if gaps else ", without gaps.")
        )
    table, sentence = _programs(evidence, p, rows.names(counted))
    if p.open_part:
        parts.append(f"Not shown by anything released: {p.open_part}.")
    merged = 0 if table is None else len(table) - table["name"].nunique()
    by_name = merged > 0 and len(counted) + merged == p.models
    if by_name:
        parts.append(
            f"The {merged} that are missing are as many as programs that share their name with an earlier one: a table "
            "kept by name would lose them, in print or in its transcription."
        )
    wrong = (len(counted) != p.models and not by_name) or absent
    open_ = bool(p.open_part or gaps or by_name)
    verdict: Verdict = "contradicted" if wrong else "inconclusive" if open_ else "supported"
    return Outcome(
        answer=" ".join([*parts[:1], *sentence, *parts[1:]]),
        verdict=verdict,
        method="Counted. Exact, so no interval.",
        estimate=float(len(counted)),
        unit="models in the table",
        n=len(rows.sheet.cells),
        rows=table,
        details={"stated": p.models, "absent_columns": absent, "columns_with_gaps": gaps},
    )


def _programs(evidence: ClaimEvidence, p: TableShape, names: list[str]) -> tuple[pd.DataFrame | None, list[str]]:
    """Released programs and whether the table has a row of their name."""
    if p.programs is None:
        return None, []
    sheet = evidence.sheets[p.programs.sheet]
    keys = sheet.column(p.programs.column).map(name_key)
    known = {name_key(name) for name in names}
    table = pd.DataFrame({"file": sheet.file, "row": sheet.cells.index, "name": keys.to_numpy()})
    table["in_table"] = table["name"].isin(known)
    table["programs_of_that_name"] = table.groupby("name")["row"].transform("size")
    several = table.loc[table["programs_of_that_name"] > 1, "name"].nunique()
    sentence = (
        f"{sheet.file} holds {len(table)} programs under {table['name'].nunique()} names, "
        f"{int(table['in_table'].sum())} of them with a name that the table has; {plural(several, 'name')} belong to "
        "more than one program."
    )
    return table, [sentence]
