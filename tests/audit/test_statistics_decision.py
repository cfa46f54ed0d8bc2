"""The decision rule: four outcomes, one Holm family, failures never dropped."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from audit.statistics.decision import Decision, PairedSample, decide, judge
from audit.statistics.multiplicity import holm
from audit.statistics.paired import paired_t, probability_of_improvement, simultaneous_interval, tost

SESOI = 0.02


def sample(
    shift: float,
    noise: float = 0.004,
    seeds: int = 8,
    candidate_fails: int = 0,
    baseline_fails: int = 0,
    machine: bool = False,
    random_seed: int = 0,
) -> PairedSample:
    """Candidate `shift` above the baseline; the first seeds of an arm fail, by its own fault or the machine's."""
    rng = np.random.default_rng(random_seed)
    baseline = 2.5 + 0.05 * rng.normal(size=seeds)
    jitter = rng.normal(size=seeds)
    jitter = (jitter - jitter.mean()) / jitter.std(ddof=1)  # so that shift and noise are met exactly
    candidate = baseline + (shift + noise * jitter)
    candidate[:candidate_fails] = np.nan
    baseline[:baseline_fails] = np.nan
    own = (0, 0) if machine else (candidate_fails, baseline_fails)
    return PairedSample(
        candidate=candidate,
        baseline=baseline,
        candidate_own=own[0],
        candidate_machine=candidate_fails - own[0],
        baseline_own=own[1],
        baseline_machine=baseline_fails - own[1],
    )


def decided(*samples: PairedSample, sesoi: float = SESOI) -> list[Decision]:
    return decide(samples, alpha=0.05, sesoi=sesoi, power=0.8, max_seeds=200, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("shift", "noise", "outcome"),
    [(-0.1, 0.004, "better"), (0.1, 0.004, "worse"), (0.0, 0.002, "equivalent"), (-0.02, 0.03, "undecided")],
)
def test_the_four_outcomes(shift: float, noise: float, outcome: str) -> None:
    assert [decision.outcome for decision in decided(sample(shift, noise))] == [outcome]


def test_a_significant_difference_inside_the_sesoi_is_equivalent_and_negligible() -> None:
    decision = decided(sample(-0.005, 0.001))[0]
    assert decision.p_adjusted < 0.05
    assert decision.outcome == "equivalent"
    assert "negligible" in decision.reason
    assert decided(sample(-0.005, 0.001), sesoi=0.001)[0].outcome == "better"


def test_one_holm_family_holds_every_difference_and_every_equivalence_test() -> None:
    samples = [sample(shift, random_seed=i) for i, shift in enumerate((-0.1, 0.0, 0.01))]
    raw = [paired_t(s.differences, 0.95).p_value for s in samples] + [tost(s.differences, SESOI) for s in samples]
    adjusted = holm(raw)
    decisions = decided(*samples)
    assert [d.p_adjusted for d in decisions] == pytest.approx(adjusted[:3])
    assert [d.p_equivalence_adjusted for d in decisions] == pytest.approx(adjusted[3:])
    assert [d.p_value for d in decisions] + [d.p_equivalence for d in decisions] == pytest.approx(raw)


def test_more_comparisons_in_a_report_make_the_same_data_harder_to_decide() -> None:
    close = sample(-0.016, 0.008, seeds=6)
    undecidable = [sample(0.0, 1.0, random_seed=i) for i in range(40)]
    alone, crowded = (decided(*samples, sesoi=0.001)[0] for samples in ([close], [close, *undecidable]))
    assert (alone.outcome, crowded.outcome) == ("better", "undecided")


def test_an_interval_that_excludes_zero_always_comes_with_a_verdict() -> None:
    samples = [sample(shift, 0.02, seeds=5, random_seed=i) for i, shift in enumerate(np.linspace(-0.1, 0.1, 41))]
    decisions = decided(*samples, sesoi=0.001)
    excluding = [d for d in decisions if d.interval[0] > 0 or d.interval[1] < 0]
    assert excluding
    assert all(d.p_adjusted < 0.05 for d in excluding)
    assert decisions[0].interval == pytest.approx(simultaneous_interval(samples[0].differences, 0.95, 82))


def test_a_candidate_that_failed_can_be_worse_but_never_better_or_equivalent() -> None:
    outcomes = [d.outcome for d in decided(*(sample(shift, 0.002, candidate_fails=1) for shift in (-0.1, 0.0, 0.1)))]
    assert outcomes == ["undecided", "undecided", "worse"]


def test_a_baseline_that_failed_can_only_be_beaten() -> None:
    outcomes = [d.outcome for d in decided(*(sample(shift, 0.002, baseline_fails=1) for shift in (-0.1, 0.0, 0.1)))]
    assert outcomes == ["better", "undecided", "undecided"]


def test_failures_in_both_arms_leave_it_undecided() -> None:
    decision = decided(sample(-0.1, 0.002, candidate_fails=1, baseline_fails=2))[0]
    assert decision.outcome == "undecided"
    assert math.isnan(decision.p_value)


def test_failed_seeds_are_lost_seeds_in_the_sign_test() -> None:
    mostly_failed = sample(-0.1, 0.002, seeds=12, candidate_fails=11)
    decision = decided(mostly_failed)[0]
    assert decision.p_value == pytest.approx(2 * 2 * 13 / 2**12)  # 1 win, 11 losses, doubled for the two tests
    assert decision.outcome == "worse"
    assert decision.n == 1


def test_every_run_of_the_candidate_failed() -> None:
    decision = decided(sample(0.0, seeds=12, candidate_fails=12))[0]
    assert (decision.outcome, decision.n) == ("worse", 0)
    assert math.isnan(decision.estimate)
    assert "12 of 12" in decision.reason


def test_failures_double_the_p_value_of_the_test_on_complete_pairs() -> None:
    failing = sample(0.1, 0.01, candidate_fails=1)
    p_t = paired_t(failing.differences, 0.95).p_value
    assert p_t < 2 / 2**8
    assert decided(failing)[0].p_value == pytest.approx(2 * p_t)


@pytest.mark.parametrize("arm", ["candidate_fails", "baseline_fails"])
@pytest.mark.parametrize("shift", [-0.1, 0.0, 0.1])
def test_a_failure_of_the_machine_leaves_it_undecided_whatever_the_rest_shows(arm: str, shift: float) -> None:
    decision = decided(sample(shift, 0.002, machine=True, **{arm: 1}))[0]
    assert decision.outcome == "undecided"
    assert "rerun" in decision.reason


def test_comparisons_that_cannot_be_tested_stay_in_the_family() -> None:
    good, untestable = sample(-0.1), sample(-0.1, machine=True, candidate_fails=2)
    p_value = decided(good)[0].p_value
    assert decided(good, untestable)[0].p_adjusted == pytest.approx(min(1.0, 4 * p_value), rel=1e-9)
    assert decided(good, untestable)[1].p_adjusted == 1.0


def test_differences_that_never_vary_are_undecided_not_certain() -> None:
    decision = decided(sample(-0.1, noise=0.0))[0]
    assert decision.outcome == "undecided"
    assert "vary" in decision.reason
    assert decision.seeds_needed is None


def test_arms_that_compute_the_same_are_called_so() -> None:
    decision = decided(sample(0.0, noise=0.0))[0]
    assert (decision.outcome, decision.p_value) == ("undecided", 1.0)
    assert "same loss" in decision.reason


def test_undecided_says_how_many_seeds_would_settle_the_sesoi() -> None:
    near, far = decided(sample(-0.01, 0.02), sample(-0.01, 0.5))
    assert near.seeds_needed is not None
    assert f"about {near.seeds_needed} seeds" in near.reason
    assert near.seeds_needed > 8
    assert far.seeds_needed is None
    assert "more than 200" in far.reason


def test_seeds_needed_do_not_depend_on_the_observed_difference() -> None:
    base = sample(0.008, 0.03)
    shifted = replace(base, candidate=base.candidate + 0.005)
    assert decided(base)[0].seeds_needed is not None
    assert decided(base)[0].seeds_needed == decided(shifted)[0].seeds_needed


def test_a_decision_carries_what_is_printed_beside_it() -> None:
    data = sample(-0.1, seeds=5)
    decision = decided(data)[0]
    assert (decision.n, decision.sign_flip.p_value, decision.sign_flip.smallest_p) == (5, 0.0625, 0.0625)
    assert decision.sd.estimate == pytest.approx(data.differences.std(ddof=1))
    expected = probability_of_improvement(data.candidate, data.baseline, 0.95)
    assert decision.probability_of_improvement == expected
    assert expected.estimate == 1.0


def test_probability_of_improvement_counts_failures_of_the_arm_but_not_of_the_machine() -> None:
    own, machine = decided(sample(-0.1, candidate_fails=2), sample(-0.1, candidate_fails=2, machine=True))
    assert own.probability_of_improvement.estimate == 0.75
    assert (machine.probability_of_improvement.estimate, machine.probability_of_improvement.n) == (1.0, 6)


def test_judge_and_decide_agree() -> None:
    samples = [sample(shift, 0.01, random_seed=i) for i, shift in enumerate((-0.1, 0.0, 0.02, 0.1))]
    outcomes = [judged.outcome for judged in judge(samples, alpha=0.05, sesoi=SESOI)]
    assert outcomes == [decision.outcome for decision in decided(*samples)]


def test_failures_that_do_not_match_the_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="1 of its losses are NaN, 2 failures"):
        replace(sample(0.0, candidate_fails=1), candidate_own=2)
    with pytest.raises(ValueError, match="vectors by seed"):
        replace(sample(0.0), baseline=np.ones(3))


def test_no_comparisons_no_decisions() -> None:
    assert decided() == []
