"""Claims on the baseline of the search, and on the runs that were dropped for beating it by too much."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.reading import EXACT, located, unreadable, verdict
from audit.wording import plural
from loop.fitness import FitnessSettings


@dataclass(frozen=True, kw_only=True)
class BaselineParameters:
    """table, name, loss: where baselines' losses stand. baseline: row of the stated one. others: rows of others."""

    table: str
    name: str
    loss: str
    baseline: str
    others: tuple[str, ...]
    fitness: FitnessSettings


def baseline_constant(evidence: ClaimEvidence, p: BaselineParameters, decision: Decision) -> Outcome:
    """Which baseline's printed loss the constant in the released fitness is.

    decision.sesoi: relative difference within which a constant is the same number, rounded or run again.
    """
    assert decision.sesoi is not None
    sheet = evidence.sheets[p.table]
    names = [p.baseline, *p.others]
    frame = pd.DataFrame({"name": sheet.column(p.name), "loss": sheet.numbers(p.loss)})
    frame = frame[frame["name"].isin(names)].dropna().drop_duplicates("name")
    if len(frame) != len(names):
        return unreadable(sheet, f"a loss for each of {', '.join(names)}")
    frame["relative_gap"] = frame["loss"] / p.fitness.baseline_loss - 1.0
    gaps = frame.set_index("name")["relative_gap"].abs()
    nearest, own = str(gaps.idxmin()), float(gaps[p.baseline])
    return Outcome(
        answer=(
            f"The loss that scores one half in the released fitness, {p.fitness.baseline_loss:g}, is nearest to that "
            f"of {nearest}; the printed loss of {p.baseline} is {100 * own:.3f}% off, the next "
            f"{100 * float(gaps.drop(p.baseline).min()):.3f}%. The benchmark's constant cannot be checked: its tasks "
            "were not released."
        ),
        verdict=verdict(
            supported=nearest == p.baseline and own <= decision.sesoi,
            contradicted=nearest != p.baseline and own > decision.sesoi,
        ),
        method=EXACT,
        estimate=own,
        unit="share of the loss",
        n=len(frame),
        rows=located(sheet, frame),
    )


@dataclass(frozen=True, kw_only=True)
class ThresholdParameters:
    """table, name, loss: where losses stand. baseline: its row. others: rows of other baselines, not judged.

    threshold: share below the baseline at which runs are dropped.
    """

    table: str
    name: str
    loss: str
    baseline: str
    others: tuple[str, ...]
    threshold: float


def none_beyond(evidence: ClaimEvidence, p: ThresholdParameters, _decision: Decision) -> Outcome:
    """Whether a published run breaks the stated threshold. Survivors of a rule cannot show that it was applied."""
    sheet = evidence.sheets[p.table]
    frame = pd.DataFrame({"name": sheet.column(p.name), "loss": sheet.numbers(p.loss)}).dropna()
    baseline = frame.loc[frame["name"] == p.baseline, "loss"]
    frame = frame[~frame["name"].isin([p.baseline, *p.others])]
    if len(baseline) != 1 or frame.empty:
        return unreadable(sheet, f"a loss of {p.baseline} and of other models")
    frame["below"] = 1.0 - frame["loss"] / float(baseline.iloc[0])
    beyond = frame[frame["below"] > p.threshold]
    return Outcome(
        answer=(
            f"{len(beyond)} of {plural(len(frame), 'published model')} lie more than {100 * p.threshold:g}% below the "
            f"baseline's loss; the furthest is {100 * frame['below'].max():.2f}% below. Only models that survived were "
            "published, so none beyond does not show that the rule was applied, nor that it finds leaks."
        ),
        verdict=verdict(supported=False, contradicted=len(beyond) > 0),
        method=EXACT,
        estimate=float(frame["below"].max()),
        unit="share of the loss",
        n=len(frame),
        rows=located(sheet, frame.nlargest(10, "below")),
    )


BASELINE_CHECKS = {
    "baseline_constant": ClaimCheck(BaselineParameters, baseline_constant),
    "none_beyond": ClaimCheck(ThresholdParameters, none_beyond),
}
