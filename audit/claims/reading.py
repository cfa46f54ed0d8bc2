"""What the checks of claims share: numbers from sheets, and outcomes without an answer."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from audit.claims.outcome import Outcome
from audit.finding import Interval, Verdict
from audit.sheets import Sheet
from audit.wording import number

EXACT = "Exact recomputation from the released file; no test, no interval."


def numbers(sheet: Sheet, columns: Sequence[str]) -> pd.DataFrame:
    """Columns as float64 by row number: the rows where every one of them holds a finite number."""
    return pd.DataFrame({column: sheet.numbers(column) for column in columns}).dropna()


def located(sheet: Sheet, frame: pd.DataFrame) -> pd.DataFrame:
    """A frame that is indexed by row number, with its columns `file` and `row` in front."""
    return frame.rename_axis("row").reset_index().assign(file=sheet.file)[["file", "row", *frame.columns]]


def unreadable(sheet: Sheet, needed: str) -> Outcome:
    """The outcome where a file does not hold what a check needs."""
    return Outcome(
        answer=f"Not testable here: {sheet.file} does not hold {needed}.",
        verdict="not_testable",
        method=f"None: {sheet.file} does not hold what the check needs.",
    )


def between(interval: Interval, digits: int) -> str:
    """`0.10 to 0.20`, without plus signs: limits of a share or a ratio."""
    return f"{number(interval[0], digits)} to {number(interval[1], digits)}"


def verdict(*, supported: bool, contradicted: bool) -> Verdict:
    """The verdict of a rule in two parts; neither: inconclusive."""
    assert not (supported and contradicted), "a rule cannot both support and contradict"
    if supported:
        return "supported"
    return "contradicted" if contradicted else "inconclusive"
