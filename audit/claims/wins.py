"""Do the candidates win most benchmarks, and which of those wins are larger than their sampling error?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from audit.claims.arms import Arms, Benchmarks, Split, items_of, split
from audit.claims.beats import ERROR
from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.finding import Verdict
from audit.statistics.benchmarks import difference_se
from audit.statistics.multiplicity import holm
from audit.wording import compact
from replication.settings import require

P_VALUE = "accuracy_difference.p_value"


@dataclass(frozen=True, kw_only=True)
class WinsOnMost:
    """Candidates against baselines, benchmark by benchmark.

    lower: columns where smaller is better and no sampling error is known, such as perplexities. most: share of the
    benchmarks that a win on "most" must exceed. exceptions: baselines a candidate may fail against, for "nearly all".
    """

    arms: Arms
    accuracies: Benchmarks
    lower: tuple[str, ...]
    rho: float
    most: float
    exceptions: int


def wins_on_most(evidence: ClaimEvidence, p: WinsOnMost, decision: Decision) -> Outcome:
    """Does every candidate win most benchmarks against all baselines but `exceptions`?"""
    rows = split(evidence.sheets, p.arms)
    single = len(p.accuracies.columns) == len(p.accuracies.benchmarks)
    require(single, "accuracies.columns: one column a benchmark is needed to count wins")
    cells = _cells(evidence, rows, p, decision)
    pairs = (
        cells.groupby(["candidate", "baseline"], sort=False)
        .agg(
            won=("won", "sum"),
            lost=("lost", "sum"),
            surely_won=("surely_won", "sum"),
            surely_lost=("surely_lost", "sum"),
            benchmarks=("column", "size"),
        )
        .reset_index()
    )
    verdict = _most_verdict(pairs, p)
    tested = cells["p_value"].notna()
    printed = int((pairs["won"] > p.most * pairs["benchmarks"]).sum())
    return Outcome(
        answer=(
            f"As printed, a candidate wins more than {compact(100 * p.most)}% of the benchmarks in {printed} of "
            f"{len(pairs)} pairings with a baseline ({int(cells['won'].sum())} wins, {int(cells['lost'].sum())} losses "
            f"in {len(cells)} comparisons). Of the {int(tested.sum())} comparisons whose sampling error is known, "
            f"{int(cells['surely_won'].sum())} are wins and {int(cells['surely_lost'].sum())} losses beyond it (Holm, "
            f"per-item correlation {p.rho:g}); they make such a majority in {int(_sure(pairs, p).sum())} pairings. "
            f"{ERROR}"
        ),
        verdict=verdict,
        method=(
            "Wins as printed; each accuracy's difference with the binomial error of its items, Holm over all "
            f"{int(tested.sum())}. Columns where lower is better have no known error and count as printed only."
        ),
        estimate=float(printed),
        unit=f"of {len(pairs)} pairings with most benchmarks won as printed",
        n=len(cells),
        rows=cells,
        calibrated=((P_VALUE, int(items_of(evidence, p.accuracies).min())),),
        details={"pairs": pairs.to_dict("records"), "rho": p.rho},
    )


def _cells(evidence: ClaimEvidence, rows: Split, p: WinsOnMost, decision: Decision) -> pd.DataFrame:
    sizes = dict(zip(p.accuracies.columns, items_of(evidence, p.accuracies), strict=True))
    found = []
    for column in (*p.lower, *p.accuracies.columns):
        numbers = rows.sheet.numbers(column)
        sign = -1.0 if column in p.lower else 1.0
        for candidate in rows.candidates:
            for baseline in rows.baselines:
                ours, theirs = float(numbers[candidate]), float(numbers[baseline])
                p_value = np.nan
                if column in sizes and np.isfinite([ours, theirs]).all():
                    p_value = _p_value(ours / p.accuracies.unit, theirs / p.accuracies.unit, sizes[column], p.rho)
                found.append((candidate, baseline, column, ours, theirs, sign * (ours - theirs), p_value))
    cells = pd.DataFrame(
        found, columns=["row", "baseline_row", "column", "candidate_value", "baseline_value", "gain", "p_value"]
    )
    tested = cells["p_value"].notna()
    cells.loc[tested, "p_holm"] = holm(cells.loc[tested, "p_value"])
    sure = cells["p_holm"] <= 1.0 - decision.level
    names = dict(zip(rows.sheet.cells.index, rows.names(list(rows.sheet.cells.index)), strict=True))
    cells.insert(0, "file", rows.sheet.file)
    cells.insert(2, "candidate", cells["row"].map(names))
    cells.insert(3, "baseline", cells["baseline_row"].map(names))
    won, lost = cells["gain"] > 0, cells["gain"] < 0
    return cells.assign(won=won, lost=lost, surely_won=won & sure, surely_lost=lost & sure)


def _p_value(ours: float, theirs: float, items: float, rho: float) -> float:
    error = difference_se([ours], [theirs], [items], rho)
    return float(2.0 * stats.norm.sf(abs(ours - theirs) / error)) if error > 0.0 else math.nan


def _sure(pairs: pd.DataFrame, p: WinsOnMost) -> pd.Series:
    return pairs["surely_won"] > p.most * pairs["benchmarks"]


def _most_verdict(pairs: pd.DataFrame, p: WinsOnMost) -> Verdict:
    """Supported: wins beyond error are a majority; contradicted: not even the printed ones are, or losses are."""
    judged = pairs.assign(
        sure=_sure(pairs, p),
        printed=pairs["won"] > p.most * pairs["benchmarks"],
        reverse=pairs["surely_lost"] > p.most * pairs["benchmarks"],
    )
    failing = judged.groupby("candidate")[["sure", "printed", "reverse"]].agg(lambda column: int((~column).sum()))
    if (failing["printed"] > p.exceptions).any() or judged["reverse"].any():
        return "contradicted"
    return "supported" if (failing["sure"] <= p.exceptions).all() else "inconclusive"
