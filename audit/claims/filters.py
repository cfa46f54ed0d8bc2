"""Counts of models that passed a stated filter: do the rows meet it, and what would equal models give?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from audit.claims.arms import Arms, Column, Split, need, split
from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.finding import Verdict
from audit.statistics.selection import expected_passes
from audit.wording import count, plural

Direction = Literal["lower", "higher"]
SHOWN = 5  # rows that an answer names


@dataclass(frozen=True, kw_only=True)
class Null:
    """Candidates that equal the baseline, measured once each, against one measurement of the baseline.

    Nothing released says how large the noise of one run is. A filter that asks for any gain at all needs no such
    number: the count depends only on the correlation of the two noises, and on the noise of the baseline's
    measurement relative to a candidate's (1: one run each). Both are swept.
    """

    attempts: int
    correlations: tuple[float, ...]
    baseline_noise: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class FilterMet:
    """Rows said to have passed a filter: better than every baseline in each column, as printed.

    better: column -> the better direction; two columns where `yardstick` is given. complete: whether the table holds
    every attempt, so that the number of passes can be counted. stated: passes claimed.
    """

    arms: Arms
    better: dict[str, Direction]
    stated: int
    complete: bool
    yardstick: Null | None


def filter_met(evidence: ClaimEvidence, p: FilterMet, decision: Decision) -> Outcome:
    """Does every released row meet the stated filter, and do as many as stated?"""
    rows = split(evidence.sheets, p.arms)
    cells = filter_cells(rows, p.better)
    passed = cells.groupby("row")["met"].all()
    failing = int((~passed).sum())
    null, sentence = null_passes(p.yardstick, p.stated, decision)
    return Outcome(
        answer=(
            f"{int(passed.sum())} of {len(passed)} released rows are better than "
            f"{plural(len(rows.baselines), 'baseline')} in {' and '.join(p.better)}, as printed"
            f"{_named_breaks(cells)}; {p.stated} are claimed. "
            + ("" if p.complete else "The models that failed the filter were not released, so they cannot be counted. ")
            + f"Each model was trained once.{sentence}"
        ),
        verdict=_filter_verdict(failing, int(passed.sum()), p),
        method="Printed values compared row by row; passes of equal models simulated with one shared baseline run.",
        estimate=float(passed.sum()),
        unit=f"of {len(passed)} released rows that meet the filter",
        n=len(passed),
        rows=cells,
        details={"failing": failing, "null": null},
    )


def _filter_verdict(failing: int, passed: int, p: FilterMet) -> Verdict:
    if failing or passed > p.stated or (p.complete and passed != p.stated):
        return "contradicted"
    return "supported" if p.complete else "inconclusive"


def filter_cells(rows: Split, better: Mapping[str, Direction]) -> pd.DataFrame:
    """One row a candidate, baseline and column: both values, and whether the candidate's is strictly better."""
    found = []
    for column, direction in better.items():
        numbers = rows.sheet.numbers(column)
        for baseline, name in zip(rows.baselines, rows.names(rows.baselines), strict=True):
            need(bool(np.isfinite(numbers[baseline])), f"{rows.sheet.file}, row {baseline}, column {column}: no number")
            for row, candidate in zip(rows.candidates, rows.names(rows.candidates), strict=True):
                gain = float(numbers[row] - numbers[baseline]) * (1.0 if direction == "higher" else -1.0)
                found.append(
                    (rows.sheet.file, row, candidate, column, name, numbers[row], numbers[baseline], gain > 0.0)
                )
    columns = ["file", "row", "candidate", "column", "baseline", "value", "baseline_value", "met"]
    return pd.DataFrame(found, columns=columns)


def _named_breaks(cells: pd.DataFrame) -> str:
    """The rows that break the filter, as a clause; the consistency checks list them one by one."""
    broken = cells[~cells["met"]]
    named = [f"{c.candidate} ({c.column} {c.value:g} against {c.baseline_value:g})" for c in broken.itertuples()]
    return f"; not: {', '.join(named[:SHOWN])}{', and more' if len(named) > SHOWN else ''}" if named else ""


def null_passes(null: Null | None, stated: int, decision: Decision) -> tuple[list[dict[str, Any]], str]:
    """Passes when nothing is better than the baseline, for each assumption, and a sentence on them."""
    if null is None:
        return [], ""
    swept = []
    for correlation in null.correlations:
        for ratio in null.baseline_noise:
            passes = expected_passes(
                null.attempts,
                (1.0, 1.0),
                (ratio, ratio),
                (0.0, 0.0),
                correlation=correlation,
                level=decision.level,
                rng=decision.rng(),
                draws=decision.resamples,
            )
            swept.append(
                {
                    "correlation": correlation,
                    "baseline_noise": ratio,
                    "mean": passes.mean,
                    "low": passes.low,
                    "high": passes.high,
                }
            )
    means, highs = ([one[name] for one in swept] for name in ("mean", "high"))
    above = sum(stated > high for high in highs)
    return swept, (
        f" If all {count(null.attempts)} attempts equalled the baseline, {_between(means)} would pass on average, "
        f"depending on what is assumed of the noise, but up to {_between(highs)} would not be unusual, since one "
        f"unlucky run of the baseline lifts all of them together; the claimed number is beyond that under {above} of "
        f"{len(swept)} assumptions. This is a yardstick, not a test of these models."
    )


def _between(values: list[float]) -> str:
    return f"{count(min(values))} to {count(max(values))}"


@dataclass(frozen=True, kw_only=True)
class PassesClaimed:
    """A claimed number of passes where only each attempt's total score was released.

    score: the total, a sum of `terms` terms from 0 to 1. In `compared` of them, which stay below `cap`, a candidate
    beats the baseline exactly when the term exceeds `even`; the others are free. stated: passes claimed. arms,
    better: a table with both values for some of the attempts, those said to have passed.
    """

    score: Column
    terms: int
    compared: int
    even: float
    cap: float
    stated: int
    arms: Arms
    better: dict[str, Direction]
    yardstick: Null


def passes_claimed(evidence: ClaimEvidence, p: PassesClaimed, decision: Decision) -> Outcome:
    """Is the claimed number of passes possible by the released totals, and do the released rows meet the filter?"""
    sheet = evidence.sheets[p.score.sheet]
    scores = sheet.numbers(p.score.column)
    known = scores.dropna()
    # A pass has every compared term above even; the others may add nothing.
    can = known > p.compared * p.even
    # A failure has one compared term at even or below, and all other terms may be full.
    failure = p.even + (p.compared - 1) * p.cap + (p.terms - p.compared)
    must = known > failure
    low, high = int(must.sum()), int(can.sum())
    rows = split(evidence.sheets, p.arms)
    cells = filter_cells(rows, p.better)
    passed = cells.groupby("row")["met"].all()
    null, sentence = null_passes(p.yardstick, p.stated, decision)
    possible = low <= p.stated <= high
    return Outcome(
        answer=(
            f"By the released totals alone, between {low} and {count(high)} of {count(len(known))} attempts beat the "
            f"baseline in both; {count(p.stated)} are claimed, which is {'possible' if possible else 'not possible'}. "
            f"Losses and benchmarks were released for {len(passed)} that went on: {int(passed.sum())} of them beat it "
            f"in both, as printed{_named_breaks(cells)}.{sentence}"
        ),
        verdict=("supported" if low == high else "inconclusive") if possible else "contradicted",
        method=(
            f"Bounds: a pass needs a total above {p.compared * p.even:g}, and a total above {failure:g} can "
            "only be a pass, if the released totals follow the stated formula."
        ),
        estimate=None,
        n=len(known),
        rows=cells,
        details={
            "fewest": low,
            "most": high,
            "stated": p.stated,
            "null": null,
            "without_score": int(scores.isna().sum()),
        },
    )
