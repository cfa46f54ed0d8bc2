"""Claims on the judge: the range of its term, and the mark of the root."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.reading import located, unreadable, verdict
from audit.sheets import printed
from audit.wording import number, plural
from loop.fitness import FitnessSettings, gain_term, judge_mark, loss_term

SLACK = 1e-9


@dataclass(frozen=True, kw_only=True)
class JudgeRangeParameters:
    """table, name, loss: where losses at the search scale stand. agent: the judge's column of figure 6.

    fitness: of the released code.
    """

    table: str
    name: str
    loss: str
    agent: str
    fitness: FitnessSettings


def judge_range(evidence: ClaimEvidence, p: JudgeRangeParameters, _decision: Decision) -> Outcome:
    """Bounds on the judge's term that released scores and printed losses leave, against 0 to 1."""
    joined = losses_and_scores(evidence, p.table, p.name, p.loss)
    table = evidence.sheets[p.table]
    if joined.empty:
        return unreadable(table, "a loss of a program of the gallery")
    rest = joined["score"] - loss_term(joined["loss"], p.fitness)
    low, high = np.maximum(rest - 1.0, 0.0), np.minimum(rest, 1.0)
    possible = (rest >= -SLACK) & (rest <= 2.0 + SLACK)
    agent = evidence.sheets["figure6"].numbers(p.agent).dropna()
    inside = bool(agent.between(0.0, 1.0).all())
    good = bool(possible.all()) and inside
    return Outcome(
        answer=(
            f"Released score less the loss term leaves {number(rest.min())} to {number(rest.max())} for benchmark and "
            f"judge together, within 0 to 2 for {int(possible.sum())} of {plural(len(joined), 'program')}; the judge's "
            f"curve in the figure runs from {number(agent.min())} to {number(agent.max())}. A weak check: the "
            "benchmark of the search was not released, so that the judge's term is known only between bounds."
        ),
        verdict=verdict(supported=False, contradicted=not good),  # the bounds allow a term above 1
        method="Bounds by the released fitness arithmetic, the benchmark term being anywhere from 0 to 1.",
        estimate=float(possible.mean()),
        unit="share of programs",
        n=len(joined),
        rows=located(table, joined.assign(rest=rest, judge_low=low, judge_high=high)),
        details={"rest_lowest": float(rest.min()), "rest_highest": float(rest.max())},
    )


def losses_and_scores(evidence: ClaimEvidence, table: str, name: str, loss: str) -> pd.DataFrame:
    """Columns name, loss, score by row of the table: rows whose name one program of the gallery bears."""
    sheet, gallery = evidence.sheets[table], evidence.sheets["gallery"]
    scores = pd.Series(gallery.numbers("score").to_numpy(), index=gallery.column("name_new").map(_key))
    scores = scores[~scores.index.duplicated(keep=False)]
    frame = pd.DataFrame({"name": sheet.column(name), "loss": sheet.numbers(loss)})
    frame["score"] = frame["name"].map(_key).map(scores)
    return frame.dropna()


def _key(name: object) -> str:
    return str(name).replace("_", " ").strip()


@dataclass(frozen=True, kw_only=True)
class AnchorParameters:
    """root: name of the root. stated: mark it is said to have. loss, benchmark: as measured for its record, as text.

    grid: marks are multiples of it. fitness: of the released code. source: where the two measurements are from, if not
    from the published data, which then cannot decide; empty: from there.
    """

    root: str
    stated: float
    loss: str
    benchmark: str
    grid: float
    fitness: FitnessSettings
    source: str


def judge_anchor(evidence: ClaimEvidence, p: AnchorParameters, decision: Decision) -> Outcome:
    """The judge's mark of the root, from its released score and its two measurements.

    decision.sesoi: difference in marks that matters.
    """
    assert decision.sesoi is not None
    sheet = evidence.sheets["tree"]
    roots = sheet.cells[(sheet.column("name_new") == p.root) & sheet.column("parent").isna()]
    loss, benchmark = printed(p.loss), printed(p.benchmark)
    score = sheet.numbers("score").loc[roots.index].dropna()
    if len(score) != 1 or loss is None or benchmark is None:
        return unreadable(sheet, f"one root named {p.root}, with a score")
    corners = [
        float(score.iloc[0]) - float(loss_term(x, p.fitness)) - _benchmark_term(y, p.fitness)
        for x in (loss.value - loss.half, loss.value, loss.value + loss.half)
        for y in (benchmark.value - benchmark.half, benchmark.value, benchmark.value + benchmark.half)
    ]
    low, mark, high = (float(judge_mark(term, p.fitness)) for term in (min(corners), corners[4], max(corners)))
    on_grid = abs(mark / p.grid - round(mark / p.grid)) * p.grid
    fits = p.fitness.judge_lowest <= mark <= p.fitness.judge_highest and on_grid <= high - low
    close = fits and abs(mark - p.stated) < decision.sesoi
    return Outcome(
        answer=(
            f"The released score of {p.root} with the loss and benchmark of its record"
            f"{f' ({p.source})' if p.source else ''} implies a mark of {number(mark, 4)} "
            f"({number(low, 4)} to {number(high, 4)} over the digits of the two), {on_grid:.1g} from a multiple of "
            f"{p.grid:g}; stated is {p.stated:g}. That the mark falls on such a multiple makes it credible that the "
            "two measurements are those of this record. One mark does not show how other models were marked, nor what "
            "the judge was told."
        ),
        verdict="inconclusive" if p.source else verdict(supported=close, contradicted=fits and not close),
        method="Released fitness arithmetic, solved for the mark; limits: half a unit of the last digits measured.",
        estimate=mark,
        unit="marks",
        n=1,
        rows=located(sheet, roots[["index", "name_new", "score"]]),
        details={"lowest": low, "highest": high, "stated": p.stated, "on_grid": bool(fits)},
    )


def _benchmark_term(benchmark: float, fitness: FitnessSettings) -> float:
    return float(gain_term(benchmark / fitness.baseline_benchmark - 1.0, fitness))


JUDGE_CHECKS = {
    "judge_range": ClaimCheck(JudgeRangeParameters, judge_range),
    "judge_anchor": ClaimCheck(AnchorParameters, judge_anchor),
}
