"""The decision rule of a rerun: better, worse, equivalent or undecided, for every comparison of one report.

One Holm family holds the difference test and the equivalence test (TOST) of every comparison. A test that
cannot be made stays in the family with p = 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from audit.statistics.estimate import Estimate, Floats
from audit.statistics.multiplicity import holm
from audit.statistics.paired import (
    PairedT,
    SignFlip,
    paired_t,
    probability_of_improvement,
    sd_interval,
    seeds_needed,
    sign_flip,
    sign_test,
    simultaneous_interval,
    tost,
)

Outcome = Literal["better", "worse", "equivalent", "undecided"]


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedSample:
    """Losses of two arms by seed [n], NaN where a run has none; each NaN is an own or a machine failure.

    own: diverged, crashed, out_of_memory, leaky. machine: timed_out, too_slow, missing.
    """

    candidate: Floats
    baseline: Floats
    candidate_own: int
    candidate_machine: int
    baseline_own: int
    baseline_machine: int

    def __post_init__(self) -> None:
        if self.candidate.ndim != 1 or self.candidate.shape != self.baseline.shape:
            raise ValueError(f"losses must be vectors by seed, got {self.candidate.shape} and {self.baseline.shape}")
        for arm, losses, failures in (
            ("candidate", self.candidate, self.candidate_own + self.candidate_machine),
            ("baseline", self.baseline, self.baseline_own + self.baseline_machine),
        ):
            missing = int(np.count_nonzero(np.isnan(losses)))
            if missing != failures or np.isinf(losses).any():
                raise ValueError(f"{arm}: {missing} of its losses are NaN, {failures} failures were counted")

    @property
    def differences(self) -> Floats:
        """Candidate minus baseline over the seeds where both have a loss."""
        both = self.candidate - self.baseline
        return both[~np.isnan(both)]

    @property
    def machine(self) -> int:
        """Runs of either arm that the machine ended or that are missing."""
        return self.candidate_machine + self.baseline_machine


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The tests of one comparison. direction: sign of the difference tested for (negative: better)."""

    outcome: Outcome
    t: PairedT
    direction: float
    p_value: float
    p_adjusted: float
    p_equivalence: float
    p_equivalence_adjusted: float


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A judgement with all that is printed beside it.

    estimate, interval, sd: of the differences, complete pairs only; the interval is simultaneous over the
    family. probability_of_improvement counts a failed run as a loss for its arm. n: complete pairs.
    """

    outcome: Outcome
    reason: str
    estimate: float
    interval: tuple[float, float]
    p_value: float
    p_adjusted: float
    p_equivalence: float
    p_equivalence_adjusted: float
    sign_flip: SignFlip
    sd: Estimate
    probability_of_improvement: Estimate
    seeds_needed: int | None
    n: int
    candidate_own: int
    candidate_machine: int
    baseline_own: int
    baseline_machine: int


def judge(comparisons: Sequence[PairedSample], *, alpha: float, sesoi: float) -> list[Judgement]:
    """Outcomes of one report's comparisons, in the order given. sesoi: in the unit of the loss."""
    pairs = [sample.differences for sample in comparisons]
    tests = [paired_t(values, 1.0 - alpha) for values in pairs]
    differences = [_difference_test(*row) for row in zip(comparisons, pairs, tests, strict=True)]
    equivalences = [_equivalence_test(*row, sesoi) for row in zip(comparisons, pairs, strict=True)]
    adjusted = holm([p for p, _ in differences] + equivalences)
    return [
        Judgement(
            outcome=_outcome(adjusted[i] < alpha, direction, adjusted[len(tests) + i] < alpha),
            t=tests[i],
            direction=direction,
            p_value=p_value,
            p_adjusted=float(adjusted[i]),
            p_equivalence=equivalences[i],
            p_equivalence_adjusted=float(adjusted[len(tests) + i]),
        )
        for i, (p_value, direction) in enumerate(differences)
    ]


def _difference_test(sample: PairedSample, differences: Floats, t: PairedT) -> tuple[float, float]:
    """p-value and direction of the difference test.

    With failures in one arm only the direction against that arm is open: twice the smaller of the paired t
    on complete pairs and the sign test in which a failed seed is lost (Bonferroni over the two); a test
    pointing the other way has p = 1. Machine failures, and failures in both arms: not testable.
    """
    if sample.machine or (sample.candidate_own and sample.baseline_own):
        return math.nan, 0.0
    if not (sample.candidate_own or sample.baseline_own):
        return t.p_value, float(np.sign(t.estimate)) if t.n else 0.0
    direction = 1.0 if sample.candidate_own else -1.0
    wins = int((differences < 0.0).sum()) + sample.baseline_own
    losses = int((differences > 0.0).sum()) + sample.candidate_own
    p_t = t.p_value if t.estimate * direction > 0.0 and not math.isnan(t.p_value) else 1.0
    p_sign = sign_test(wins, losses) if (losses - wins) * direction > 0.0 else 1.0
    return min(1.0, 2.0 * min(p_t, p_sign)), direction


def _equivalence_test(sample: PairedSample, differences: Floats, sesoi: float) -> float:
    if sample.machine or sample.candidate_own or sample.baseline_own:
        return math.nan
    return tost(differences, sesoi)


def _outcome(different: bool, direction: float, equivalent: bool) -> Outcome:
    if equivalent:
        return "equivalent"
    if different and direction:
        return "better" if direction < 0.0 else "worse"
    return "undecided"


def decide(
    comparisons: Sequence[PairedSample],
    *,
    alpha: float,
    sesoi: float,
    power: float,
    max_seeds: int,
    rng: np.random.Generator,
) -> list[Decision]:
    """Decisions of one report's comparisons, in the order given.

    alpha: family-wise error rate. power, max_seeds: for the seeds an undecided comparison would need to
    find the SESOI, planned at the strictest level of the family and the upper limit of the SD (None: more
    than max_seeds, or SD unknown). rng: for the sign flips above 16 pairs.
    """
    family = 2 * len(comparisons)
    decisions = []
    for sample, judged in zip(comparisons, judge(comparisons, alpha=alpha, sesoi=sesoi), strict=True):
        sd = sd_interval(sample.differences, 1.0 - alpha)
        needed = None
        if judged.outcome == "undecided" and sd.interval[1] > 0.0:
            needed = seeds_needed(sd.interval[1], sesoi, power, alpha / family, max_seeds)
        decisions.append(
            Decision(
                outcome=judged.outcome,
                reason=_reason(sample, judged, alpha, sesoi, needed, max_seeds),
                estimate=judged.t.estimate,
                interval=simultaneous_interval(sample.differences, 1.0 - alpha, family),
                p_value=judged.p_value,
                p_adjusted=judged.p_adjusted,
                p_equivalence=judged.p_equivalence,
                p_equivalence_adjusted=judged.p_equivalence_adjusted,
                sign_flip=sign_flip(sample.differences, rng),
                sd=sd,
                probability_of_improvement=_improvement(sample, 1.0 - alpha),
                seeds_needed=needed,
                n=judged.t.n,
                candidate_own=sample.candidate_own,
                candidate_machine=sample.candidate_machine,
                baseline_own=sample.baseline_own,
                baseline_machine=sample.baseline_machine,
            )
        )
    return decisions


def _improvement(sample: PairedSample, level: float) -> Estimate:
    """Failed runs as infinite losses; where a machine failed it is unknown which, so complete pairs only."""
    if sample.machine:
        both = ~np.isnan(sample.candidate - sample.baseline)
        return probability_of_improvement(sample.candidate[both], sample.baseline[both], level)
    candidate, baseline = (np.where(np.isnan(arm), np.inf, arm) for arm in (sample.candidate, sample.baseline))
    return probability_of_improvement(candidate, baseline, level)


def _reason(
    sample: PairedSample, judged: Judgement, alpha: float, sesoi: float, needed: int | None, max_seeds: int
) -> str:
    """One line for the report."""
    if judged.outcome == "equivalent":
        negligible = "; difference negligible" if judged.p_adjusted < alpha else ""
        return f"inside ±{sesoi:g}, adjusted p = {judged.p_equivalence_adjusted:.2g}{negligible}"
    failed = _failures(sample)
    if judged.outcome != "undecided":
        side = "lower" if judged.outcome == "better" else "higher"
        return f"{failed or f'{side} loss over {judged.t.n} paired seeds'}, adjusted p = {judged.p_adjusted:.2g}"
    if failed:
        return failed
    if judged.t.n < 2:
        return f"{judged.t.n} paired seeds: no measure of noise"
    if judged.t.sd == 0.0 and judged.t.estimate == 0.0:
        return "the same loss at every seed: the two arms compute the same"
    if judged.t.sd == 0.0:
        return "the differences do not vary between seeds: no measure of noise"
    if needed is None:
        return f"finding ±{sesoi:g} would take more than {max_seeds} seeds"
    if needed > judged.t.n:
        return f"finding ±{sesoi:g} would take about {needed} seeds"
    return f"too close to call: {judged.t.n} seeds would find ±{sesoi:g}, the difference lies nearer to 0"


def _failures(sample: PairedSample) -> str:
    seeds = len(sample.candidate)
    if sample.machine:
        return f"{sample.machine} runs timed out, were too slow or are missing: rerun them"
    if sample.candidate_own and sample.baseline_own:
        own = f"{sample.candidate_own} and {sample.baseline_own}"
        return f"candidate and baseline failed on {own} of {seeds} seeds"
    if sample.candidate_own:
        return f"candidate failed on {sample.candidate_own} of {seeds} seeds: it can only be worse"
    if sample.baseline_own:
        return f"baseline failed on {sample.baseline_own} of {seeds} seeds: the candidate can only be better"
    return ""
