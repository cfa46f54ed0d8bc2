"""The experiments on the loop: claims, their confirmation, contrasts between arms, and what is kept of them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from audit.calibrate import CALIBRATION, read_calibration
from audit.interventions import page, rules
from audit.interventions.audit import audit, methods_in_use, rate_contrasts
from audit.interventions.outcomes import (
    CONFIRMATION_COLUMNS,
    EXPERIMENT_COLUMNS,
    best_of,
    claims_of,
    confirmed_claims,
    search_outcomes,
)
from audit.interventions.plan import ExploratorySettings, InterventionSettings
from audit.interventions.reference import Kept, read_interventions, write_interventions
from audit.interventions.run import Measured
from audit.manifest import plan_sha256
from replication.configure import compose
from replication.settings import InputError, typed

BASELINE = "b" * 64


@pytest.fixture
def settings():
    resolved = compose("audit_threshold", [])["interventions"]
    settings = typed(InterventionSettings, resolved, "interventions")
    return dataclasses.replace(settings, seeds=8, exploratory=ExploratorySettings(baseline="mamba2"))


def experiment(number=1, **changes):
    row = {"seed": 0, "arm": "full", "number": number, "candidate": f"{number:064}", "status": "ok", "kept": True}
    row |= {"standing": "clean", "loss": 2.4, "honest_loss": 2.4, "baseline": "mamba2", "baseline_loss": 2.5}
    row |= {"device_seconds": 3600.0, "flops": 1e9, "cognition": 1, "analysis": 0, "original": 0}
    return row | changes


def experiments(*rows):
    return pd.DataFrame(rows, columns=list(EXPERIMENT_COLUMNS))


def fresh(candidate, losses, **changes):
    row = {"candidate": candidate, "baseline": "", "standing": "clean", "status": "ok", "looks_ahead": False}
    return [row | {"seed": 1000 + i, "honest_loss": v, "bits_per_byte": v / 2} | changes for i, v in enumerate(losses)]


def confirmations(*runs):
    return pd.DataFrame([row for run in runs for row in run], columns=list(CONFIRMATION_COLUMNS))


NOISE = np.array([0.01, -0.01, 0.005, -0.005])
ANCHOR = fresh(BASELINE, 2.5 - NOISE, baseline="mamba2")


def judged(table, *runs, settings):
    claims = confirmed_claims(table, confirmations(ANCHOR, *runs), settings.confirm)
    return claims.set_index("number")


def test_a_claim_is_a_kept_proposal_below_every_baseline():
    table = experiments(experiment(1), experiment(2, loss=2.6), experiment(3, kept=False), experiment(4, loss=None))
    assert claims_of(table)["number"].tolist() == [1]


def test_a_program_found_twice_in_a_search_is_one_claim():
    assert len(claims_of(experiments(experiment(1), experiment(2, candidate=f"{1:064}")))) == 1


def test_a_gain_that_comes_again_is_confirmed_and_one_that_does_not_is_not(settings):
    table = experiments(experiment(1), experiment(2))
    claims = judged(table, fresh(f"{1:064}", 2.3 + NOISE), fresh(f"{2:064}", 2.5 + NOISE), settings=settings)
    assert claims["confirmed"].to_dict() == {1: True, 2: False}
    assert claims.loc[1, "gain"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"standing": "leaky"},
        {"standing": "not_certified"},
        {"looks_ahead": True},
        {"status": "diverged", "honest_loss": math.nan},
    ],
)
def test_a_claim_without_certificate_or_with_a_failed_run_is_never_confirmed(settings, changes):
    runs = fresh(f"{1:064}", 2.3 + NOISE)
    runs[-1] |= changes
    table = experiments(experiment(1), experiment(2))
    claims = judged(table, runs, fresh(f"{2:064}", 2.3 + NOISE), settings=settings)
    assert claims["confirmed"].to_dict() == {1: False, 2: True}


def test_the_noise_of_all_claims_decides_not_the_luck_of_one(settings):
    """A gain of 0.05 whose own four differences hardly vary, among others that vary by 0.2."""
    wild = 20 * NOISE
    table = experiments(*(experiment(number) for number in range(1, 6)))
    runs = [fresh(f"{number:064}", 2.5 + wild) for number in range(2, 6)]
    claims = judged(table, fresh(f"{1:064}", 2.45 - NOISE), *runs, settings=settings)
    assert not claims["confirmed"].any()


def test_a_weaker_criterion_holds_the_same_claims_against_one_baseline(settings):
    table = experiments(experiment(1), experiment(2))
    weak = fresh("c" * 64, 2.7 - NOISE, baseline="delta_net")
    runs = confirmations(ANCHOR, weak, fresh(f"{1:064}", 2.3 + NOISE), fresh(f"{2:064}", 2.5 + NOISE))
    outcome = search_outcomes(table, runs, settings.confirm, "delta_net").iloc[0]
    assert (outcome["claims"], outcome["confirmed"], outcome["weaker_confirmed"]) == (2, 1, 2)


def test_a_weaker_criterion_against_a_baseline_that_was_not_run_is_refused(settings):
    runs = confirmations(ANCHOR, fresh(f"{1:064}", 2.3 + NOISE))
    with pytest.raises(InputError, match=r"exploratory\.baseline: 'gla' was not run"):
        search_outcomes(experiments(experiment(1)), runs, settings.confirm, "gla")


def test_the_best_is_chosen_by_its_loss_at_search_time_and_scored_on_fresh_seeds(settings):
    table = experiments(experiment(1, loss=2.2), experiment(2, loss=2.3), experiment(3, loss=1.0, kept=False))
    runs = (fresh(f"{1:064}", 2.6 + NOISE), fresh(f"{2:064}", 2.3 + NOISE))
    outcome = search_outcomes(table, confirmations(ANCHOR, *runs), settings.confirm, "mamba2").iloc[0]
    assert best_of(table)["number"].tolist() == [1]
    assert outcome["best_loss"] == pytest.approx(2.6)
    assert (outcome["claims"], outcome["confirmed"], outcome["rate"]) == (2, 1, pytest.approx(1 / 3))


def test_a_search_that_kept_nothing_has_no_best_and_counts_against_its_arm(settings):
    rows = [experiment(1, seed=seed, arm=arm, kept=arm == "full") for seed in range(4) for arm in ("full", "no_rule")]
    runs = confirmations(ANCHOR, fresh(f"{1:064}", 2.3 + NOISE))
    outcomes = search_outcomes(experiments(*rows), runs, settings.confirm, "mamba2")
    assert outcomes.loc[outcomes["arm"] == "no_rule", "best_bits"].isna().all()
    best = next(one for one in audit(outcomes, settings, frozenset()) if one.id == "interventions.no_rule.best")
    assert best.details["failed"] == 4
    assert best.details["outcome"] != "better"


def outcomes_table(rates):
    """One row a search from arm -> rates by seed."""
    rows = [
        {"arm": arm, "seed": seed, "experiments": 40, "scored": 40, "kept": 30, "hours": 0.01, "claims": 10,
         "confirmed": int(rate), "rate": rate, "weaker_confirmed": int(rate), "weaker_rate": rate,
         "false_share": 0.5 + 0.01 * seed, "leak_share": 0.0,
         "best_loss": 2.0, "best_bits": 1.0 + (0.01 + 0.0001 * seed) * len(arm), "best_standing": "clean"}
        for arm, values in rates.items() for seed, rate in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


FULL = [8, 9, 7, 10, 8, 9, 11, 8]


def test_the_seed_is_the_unit_so_one_lucky_search_is_no_effect(settings):
    outcomes = outcomes_table({"full": FULL, "random": [8, 9, 7, 10, 8, 9, 11, 60]})
    (contrast,) = rate_contrasts(outcomes, settings)
    assert contrast.test.n == 8
    assert contrast.p_adjusted > 0.05
    assert contrast.detectable[1] > 2


def test_half_as_many_in_every_search_is_told_with_its_ratio(settings):
    outcomes = outcomes_table({"full": FULL, "random": [4, 4, 4, 5, 4, 5, 5, 4], "no_op": FULL})
    found = {finding.id: finding for finding in audit(outcomes, settings, frozenset())}
    rate = found["interventions.random.rate_ratio"]
    assert rate.details["outcome"] == "fewer"
    assert rate.estimate == pytest.approx(0.5)
    assert 0.4 < rate.interval[0] < 0.5 < rate.interval[1] < 0.6
    assert found["interventions.no_op.rate_ratio"].details["outcome"] == "undecided"
    assert all(finding.verdict == "measured" and finding.claim is None for finding in found.values())


def test_the_criterion_that_was_added_after_the_data_says_so_and_is_no_part_of_the_plan(settings):
    outcomes = outcomes_table({"full": FULL, "random": [4, 4, 4, 5, 4, 5, 5, 4]}).assign(rate=0.0, confirmed=0)
    found = {finding.id: finding for finding in audit(outcomes, settings, frozenset())}
    assert found["interventions.random.rate_ratio"].details["outcome"] == "undecided"
    assert found["interventions.random.rate_ratio"].interval is None
    added = found["interventions.random.exploratory_rate_ratio"]
    assert added.details["outcome"] == "fewer"
    assert added.answer.startswith("Exploratory, added after")
    assert "exploratory" not in settings.plan
    assert "exploratory" in page.verdict(outcomes, settings)


def test_an_interval_that_calibration_withholds_is_not_shown(settings):
    outcomes = outcomes_table({"full": FULL, "random": [4, 4, 4, 5, 4, 5, 5, 4]})
    withheld = frozenset({("paired_ratio", 8)})
    rate = next(one for one in audit(outcomes, settings, withheld) if one.details["kind"] == "rate_ratio")
    assert rate.interval is None
    assert "no bounded interval" in rate.answer


def test_rules_are_compared_with_no_rule_and_without_searches_not_at_all(settings):
    outcomes = outcomes_table({"full": FULL, "below_10": FULL, "below_2": FULL, "no_rule": FULL})
    finding = rules.rule_finding(outcomes, settings)
    assert finding.details["outcome"].keys() == {"full", "below_10", "below_2"}
    assert finding.details["outcome"]["full"] == "better"  # the shorter its name, the better its best, by design
    assert rules.rule_finding(None, settings).verdict == "not_testable"
    assert rules.rule_finding(outcomes_table({"full": FULL}), settings).verdict == "not_testable"


def kept(settings):
    rows = [
        experiment(number, seed=seed, arm=arm, loss=2.6 - 0.1 * number)
        for seed in range(3) for arm in settings.arms for number in range(1, 4)
    ]  # fmt: skip
    runs = [fresh(f"{number:064}", 2.6 - 0.1 * number + NOISE) for number in range(1, 4)]
    return Measured(experiments=experiments(*rows), confirmations=confirmations(ANCHOR, *runs))


def test_what_is_kept_comes_back_as_it_was(tmp_path, settings):
    measured = kept(settings)
    write_interventions(tmp_path / "kept", measured, {"commit": "c" * 40, "decision_plan": {"sha256": "other"}})
    found = read_interventions(tmp_path / "kept")
    pd.testing.assert_frame_equal(found.measured.experiments, measured.experiments, check_dtype=False)
    pd.testing.assert_frame_equal(found.measured.confirmations, measured.confirmations, check_dtype=False)
    assert any("another plan" in sentence for sentence in found.told(settings))


def test_a_table_changed_by_hand_is_refused(tmp_path, settings):
    write_interventions(tmp_path, kept(settings), {})
    table = tmp_path / "experiments.csv"
    table.write_text(table.read_text().replace("2.5", "1.5"))
    with pytest.raises(InputError, match="the tables are not those"):
        read_interventions(tmp_path)


def test_the_section_names_its_limits_and_shows_every_arm(settings):
    stored = read_calibration(CALIBRATION)
    section, calibration = page.section(Kept(measured=kept(settings), manifest={}), settings, stored)
    assert ("paired_ratio", 3) in calibration
    assert "nothing about ASI-Arch" in " ".join(section.paragraphs)
    assert set(section.tables["intervention_arms"]["arm"]) == set(settings.arms)
    assert len(section.findings) == 5 * (len(settings.arms) - 1)
    assert section.figures.keys() == {"interventions"}


def test_without_results_the_section_says_how_to_make_them(settings):
    section, _ = page.section(None, settings, pd.DataFrame())
    assert "redo=true" in section.paragraphs[0]
    assert not section.findings


def test_seeds_begin_with_different_arms_and_are_run_whole(settings):
    order = list(settings.searches())
    arms = len(settings.arms)
    assert [seed for seed, _ in order[:arms]] == [0] * arms
    assert {arm for _, arm in order[:arms]} == set(settings.arms)
    assert order[0][1] != order[arms][1]


def test_the_plan_is_the_registered_one(settings):
    fixed = typed(InterventionSettings, compose("audit_threshold", [])["interventions"], "interventions")
    assert plan_sha256(fixed.plan) == fixed.registered_plan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 1}, "interventions.seeds"),
        ({"rules": ("full", "nothing")}, "interventions.arms: there is no arm 'nothing'"),
        ({"rules": ("no_rule",)}, "compared with itself"),
        ({"power": 0.2}, "interventions.power"),
    ],
)
def test_a_plan_that_cannot_be_judged_is_refused(settings, changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(settings, **changes)


def test_a_search_whose_compute_is_not_known_has_no_rate(settings):
    runs = confirmations(ANCHOR, fresh(f"{1:064}", 2.3 + NOISE))
    for seconds in (0.0, math.nan):
        outcome = search_outcomes(
            experiments(experiment(1, device_seconds=seconds)), runs, settings.confirm, "mamba2"
        ).iloc[0]
        assert math.isnan(outcome["rate"])


def test_without_two_pairs_there_is_a_finding_without_a_ratio(settings):
    outcomes = outcomes_table({"full": FULL[:1], "random": FULL[:1]})
    rate = audit(outcomes, settings, frozenset())[0]
    assert math.isnan(rate.estimate)
    assert rate.details["outcome"] == "undecided"
    assert "is not known" in rate.answer


def test_no_detectable_ratio_is_made_up_where_nothing_was_confirmed(settings):
    outcomes = outcomes_table({"full": [0] * 8, "random": [0] * 8})
    (contrast,) = rate_contrasts(outcomes, settings)
    assert all(map(math.isnan, contrast.detectable))
    assert "0.00" not in audit(outcomes, settings, frozenset())[0].answer


def test_where_no_smaller_ratio_could_be_shown_the_answer_says_so(settings):
    outcomes = outcomes_table({"full": FULL, "random": [8, 9, 7, 10, 8, 9, 11, 60]})
    assert "no ratio below 1" in audit(outcomes, settings, frozenset())[0].answer


def test_every_number_of_pairs_that_has_an_interval_is_looked_up_in_the_calibration(settings):
    outcomes = outcomes_table({"full": FULL, "random": FULL})
    outcomes.loc[(outcomes["arm"] == "random") & (outcomes["seed"] < 2), "false_share"] = math.nan
    assert ("paired_t.interval", 6) in methods_in_use(outcomes, settings)


def test_results_without_the_arm_that_others_are_compared_with_are_refused(settings):
    with pytest.raises(InputError, match=r"reference_arm: the kept results have no arm 'full'"):
        rate_contrasts(outcomes_table({"random": FULL}), settings)


def test_a_rule_under_which_nothing_was_kept_has_no_number(settings):
    outcomes = outcomes_table({"full": FULL, "no_rule": FULL})
    outcomes.loc[outcomes["arm"] == "full", "leak_share"] = math.nan
    assert "nan" not in rules.rule_finding(outcomes, settings).answer


def test_what_the_section_says_of_the_searches_is_counted_not_planned(settings):
    plan = dataclasses.replace(settings, experiments=99)
    section, _ = page.section(Kept(measured=kept(settings), manifest={}), plan, read_calibration(CALIBRATION))
    assert "3 experiments a search" in section.paragraphs[0]


def test_results_of_a_plan_that_is_not_the_registered_one_say_so(settings):
    found = Kept(measured=kept(settings), manifest={"decision_plan": {"as_registered": False}})
    assert any("not the registered one" in sentence for sentence in found.told(settings))
