"""Printed values against the training logs behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from audit.claims.arms import Arms, matches, need, split
from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.finding import Verdict
from audit.sheets import printed
from audit.wording import number, plural

ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class LogEnds:
    """A table's column said to be the end of each training log.

    programs: the sheet with the logs' ends, in `end`, and the step of each, in `step`, joined to the table's label by
    `name`. last_step: the step stated.
    """

    arms: Arms
    column: str
    programs: str
    name: str
    end: str
    step: str
    last_step: int


def log_ends(evidence: ClaimEvidence, p: LogEnds, decision: Decision) -> Outcome:
    """Is each printed value the last of a released log, within rounding, at the stated step?"""
    rows, programs = split(evidence.sheets, p.arms), evidence.sheets[p.programs]
    joined = matches(rows.sheet, rows.label, programs, p.name)
    table = pd.DataFrame(
        [_row(rows.sheet.cells.at[row, p.column], row, joined[row], evidence, p) for row in rows.candidates]
    )
    table.insert(0, "file", rows.sheet.file)
    counts = table["outcome"].value_counts()
    steps = programs.numbers(p.step)
    off = int((steps != p.last_step).sum())
    compared = int(counts.get("same", 0) + counts.get("differs", 0))
    ended = table[table["outcome"] == "log has no end"]
    named = ", ".join(f"row {row.row} ({row.printed})" for row in ended.head(3).itertuples())
    return Outcome(
        answer=(
            f"{counts.get('same', 0)} of {compared} printed values that could be compared are the last of their log, "
            f"within rounding; {counts.get('differs', 0)} are not. "
            + (
                f"For {plural(len(ended), 'printed value')} the log ends without a number: {named}. "
                if len(ended)
                else ""
            )
            + f"{plural(int(counts.get('no log', 0)), 'row')} have no log. "
            + (f"All {len(steps)} logs end at step {p.last_step}." if not off else f"{off} logs end at another step.")
        ),
        verdict=_verdict(counts, off),
        method="Joined by name, where a name that several programs share may match any of them; rounding of both.",
        estimate=float(counts.get("same", 0)),
        unit=f"of {compared} printed values",
        n=len(table),
        rows=table,
        details={str(key): int(value) for key, value in counts.sort_index().items()},
    )


def _row(cell: object, row: int, others: Sequence[int], evidence: ClaimEvidence, p: LogEnds) -> dict[str, object]:
    value, programs = printed(cell), evidence.sheets[p.programs]
    ends = {other: printed(programs.cells.at[other, p.end]) for other in others}
    near = {other: end for other, end in ends.items() if end is not None}
    entry: dict[str, object] = {"row": row, "column": p.column, "printed": cell, "program_row": "", "log_end": math.nan}
    if value is None or not near:
        outcome = "no value" if value is None else "log has no end" if ends else "no log"
        return {**entry, "program_row": " ".join(map(str, ends)), "outcome": outcome}
    other, end = min(near.items(), key=lambda item: abs(item[1].value - value.value))
    same = abs(end.value - value.value) <= end.half + value.half + ROUNDING
    return {**entry, "program_row": str(other), "log_end": end.value, "outcome": "same" if same else "differs"}


def _verdict(counts: pd.Series, off: int) -> Verdict:
    if counts.get("differs", 0) or off:
        return "contradicted"
    return "supported" if set(counts.index) == {"same"} else "inconclusive"


@dataclass(frozen=True, kw_only=True)
class TrainingTokens:
    """Tokens that the released logs imply: last step x batch x context, against those stated.

    step: column of the sheet `programs` with the last step of each log. tolerance: share that the rounding of the
    stated numbers may hide. open_part: what else the claim says that no released data can show; empty: nothing.
    """

    programs: str
    step: str
    batch: int
    context: int
    steps: int
    tokens: float
    tolerance: float
    open_part: str


def training_tokens(evidence: ClaimEvidence, p: TrainingTokens, decision: Decision) -> Outcome:
    """Do the logs end at the stated step, and does that make the stated number of tokens?"""
    sheet = evidence.sheets[p.programs]
    steps = sheet.numbers(p.step)
    need(bool(steps.notna().any()), f"no log in {sheet.file} has a last step")
    tokens = steps * p.batch * p.context
    fits = (steps == p.steps) & ((tokens / p.tokens - 1.0).abs() <= p.tolerance)
    verdict: Verdict = "contradicted" if not fits.all() else "inconclusive" if p.open_part else "supported"
    return Outcome(
        answer=(
            f"{int((steps == p.steps).sum())} of {len(steps)} released logs end at step {p.steps}; with {p.batch} "
            f"sequences of {p.context} tokens a step that makes {number(float(tokens.median()) / 1e9, 2)} billion "
            f"tokens, {number(p.tokens / 1e9, 2)} billion stated."
            + (f" Not shown by anything released: {p.open_part}." if p.open_part else "")
        ),
        verdict=verdict,
        method=f"Last step x batch x context, within {100 * p.tolerance:g}% of the stated number.",
        estimate=float(tokens.median()) / 1e9,
        unit="billion tokens",
        n=len(steps),
        rows=pd.DataFrame({"file": sheet.file, "row": steps.index, "last_step": steps, "tokens": tokens, "fits": fits}),
    )
