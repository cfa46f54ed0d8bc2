"""The threshold audit finds planted truths, tells failures from numbers, and ignores the order of its rows."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from audit.finding import canonical_json, findings_document
from audit.manifest import plan_sha256
from audit.statistics.simulation import CHECKS as CALIBRATION_CHECKS
from audit.threshold import ThresholdSettings, audit, methods_in_use
from audit.threshold.evidence import CERTIFICATE_COLUMNS, DECLARED, PROPOSAL_COLUMNS, ThresholdEvidence
from replication.certificate import CHECKS
from replication.settings import InputError, typed

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "audit" / "threshold.yaml"
BASELINE = 4.0


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    return yaml.safe_load(CONFIG.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cfg(settings) -> ThresholdSettings:
    return typed(ThresholdSettings, settings, "audit")


def proposal(candidate, drop, leak=0.0, **changes):
    """A finished run `drop` below the baseline, of which `leak` (a share of the baseline's loss) is a leak."""
    loss = BASELINE * (1 - drop)
    row = {
        "source": "zoo", "scale": "cpu-small", "candidate": candidate, "name": candidate, "family": "",
        "strength": math.nan, "seed": 0, "status": "ok", "loss": loss, "honest_loss": loss + BASELINE * leak,
        "leak_gain": BASELINE * leak, "leak_gain_se": 0.01, "baseline_loss": BASELINE, "benchmark": math.nan,
        "baseline_benchmark": math.nan,
    }  # fmt: skip
    return row | changes


def certificate(candidate, outcomes=None, checks=CHECKS, **changes):
    """Rows of a certificate; outcomes: check -> outcome where it is not certified."""
    rows = []
    for check in checks:
        outcome = (outcomes or {}).get(check, "certified")
        violated = outcome == "violated"
        rows.append(
            {
                "source": "zoo", "candidate": candidate, "name": candidate, "family": "", "strength": math.nan,
                "check": check, "outcome": outcome, "size": 0.5 if violated else math.nan, "limit": 1e-12,
                "detail": "output 3 changes with input 4" if violated else "", "first_output": 3 if violated else None,
                "position": 4 if violated else None, "seed": 7 if violated else None,
                "mode": "eval" if violated else None, "length": 8 if violated else None,
                "dtype": "float64" if violated else None, "gradient": "confirms" if violated else None,
            } | changes
        )  # fmt: skip
    return rows


LEAKY = {"future": "violated", "length": "violated"}


def zoo():
    """12 leaks, of which 6 fall more than 10% below baseline, and 12 clean programs, of which 1 does."""
    proposals, certificates = [], []
    for place in range(12):
        drop = 0.2 + 0.01 * place if place < 6 else 0.01 * (place - 5)
        proposals.append(proposal(f"leak_{place}", drop, leak=drop))
        certificates += certificate(f"leak_{place}", LEAKY)
        clean = 0.12 if place == 0 else 0.03 - 0.01 * place
        proposals.append(proposal(f"clean_{place}", clean, leak_gain=math.nan, leak_gain_se=math.nan))
        certificates += certificate(f"clean_{place}")
    return proposals, certificates


def evidence(proposals, certificates):
    return ThresholdEvidence(
        pd.DataFrame(proposals, columns=list(PROPOSAL_COLUMNS)),
        pd.DataFrame(certificates, columns=list(CERTIFICATE_COLUMNS)),
    )


def by_id(findings):
    return {finding.id: finding for finding in findings}


def test_the_settings_on_disk_are_the_registered_plan(cfg):
    assert plan_sha256(cfg.plan) == cfg.registered_plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 1.0}, "audit.level: must lie between"),
        ({"thresholds": []}, "audit.thresholds: name at least one"),
        ({"thresholds": [0.2, 0.1]}, "audit.thresholds: name at least one, each larger"),
        ({"thresholds": [10.0], "headline": 10.0}, "audit.thresholds: must lie between 0 and 1, got 10.0"),
        ({"headline": 0.11}, "audit.headline: 0.11 is not one of"),
        ({"released": {"loss": 10.0, "benchmark": 0.1}}, "audit.released.loss"),
        ({"resamples": 10}, "audit.resamples"),
        ({"rule": "loss"}, "audit.rule: unknown setting"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        typed(ThresholdSettings, settings | change, "audit")


def test_planted_rates_are_found_with_exact_intervals(cfg):
    findings = by_id(audit(evidence(*zoo()), cfg))
    findings_document("audit_threshold", list(findings.values()))
    true_rate = findings["threshold.zoo.true_positive_rate.cpu-small"]
    false_rate = findings["threshold.zoo.false_positive_rate.cpu-small"]
    precision = findings["threshold.zoo.precision.cpu-small"]
    assert (true_rate.estimate, true_rate.n) == (0.5, 12)
    assert true_rate.interval == pytest.approx((0.2109, 0.7891), abs=1e-4)
    assert (false_rate.estimate, precision.estimate, precision.n) == (1 / 12, 6 / 7, 7)
    assert "no sample of what a search proposes" in true_rate.answer
    assert "6 of 12 leaky programs are discarded (50%, exact 95% interval 21% to 79%)" in true_rate.answer


def test_a_higher_threshold_never_discards_more(cfg):
    findings = by_id(audit(evidence(*zoo()), cfg))
    for rate in ("true_positive_rate", "false_positive_rate"):
        thresholds = findings[f"threshold.zoo.{rate}.cpu-small"].details["thresholds"]
        assert [row["threshold"] for row in thresholds] == list(cfg.thresholds)
        assert np.all(np.diff([row["estimate"] for row in thresholds]) <= 0)


def test_an_area_is_given_from_10_programs_a_class_only(cfg):
    area = by_id(audit(evidence(*zoo()), cfg))["threshold.zoo.roc_area.cpu-small"]
    assert area.interval[0] < area.estimate < area.interval[1]
    proposals, certificates = zoo()
    few = evidence(
        [row for row in proposals if row["candidate"] not in ("leak_0", "leak_1", "leak_2")],
        certificates,
    )
    found = by_id(audit(few, cfg))["threshold.zoo.roc_area.cpu-small"]
    assert (found.estimate, found.interval) == (None, None)
    assert "too few for an area" in found.answer


def test_only_the_first_seed_decides_and_the_others_are_reported(cfg):
    proposals, certificates = zoo()
    more = [row | {"seed": 1, "loss": BASELINE, "honest_loss": BASELINE} for row in proposals]
    rate = by_id(audit(evidence(proposals + more, certificates), cfg))["threshold.zoo.true_positive_rate.cpu-small"]
    assert (rate.estimate, rate.n) == (0.5, 12)
    assert rate.details["other_seeds"] == [{"seed": 1, "estimate": 0.0, "n": 12}]


def test_failed_runs_and_unknown_truths_are_left_out_and_counted(cfg):
    proposals, certificates = zoo()
    nothing = {"loss": math.nan, "honest_loss": math.nan, "leak_gain": math.nan, "leak_gain_se": math.nan}
    proposals[0] |= {"status": "diverged"} | nothing
    proposals[2] |= {"baseline_loss": math.nan}
    certificates = [row for row in certificates if row["candidate"] != "leak_2"]
    certificates += certificate("leak_2", {"future": "not_runnable"})
    rate = by_id(audit(evidence(proposals, certificates), cfg))["threshold.zoo.true_positive_rate.cpu-small"]
    assert (rate.estimate, rate.n) == (3 / 9, 9)
    assert (rate.details["not_judged"], rate.details["truth_unknown"]) == (2, 1)
    assert "Left out: 2 without a finished pair of runs, 1 of unknown truth." in rate.answer


def test_the_released_rule_discards_what_is_too_bad_as_well(cfg):
    proposals, certificates = zoo()
    proposals[1] |= {"loss": BASELINE * 1.2, "honest_loss": BASELINE * 1.2}  # clean_0
    proposals[3] |= {"benchmark": 0.35, "baseline_benchmark": 0.4}  # clean_1
    found = by_id(audit(evidence(proposals, certificates), cfg))["threshold.zoo.released_rule.cpu-small"]
    assert found.details["false_positive_rate"]["estimate"] == 2 / 12
    assert (found.details["above_baseline"], found.details["with_benchmark"]) == (1, 1)


def test_findings_do_not_depend_on_the_order_of_rows(cfg):
    proposals, certificates = (pd.DataFrame(rows) for rows in zoo())
    straight = ThresholdEvidence(proposals, certificates)
    shuffled = ThresholdEvidence(proposals.sample(frac=1, random_state=1), certificates.sample(frac=1, random_state=2))
    first, second = (canonical_json(findings_document("audit_threshold", audit(e, cfg))) for e in (straight, shuffled))
    assert first == second


def test_discoveries_are_held_against_honest_ones(cfg):
    found = by_id(audit(evidence(*zoo()), cfg))["threshold.zoo.discoveries.cpu-small"]
    rules = {(row["rule"], row["threshold"]): row for row in found.details["rules"]}
    at_headline = rules["one_sided", cfg.headline]
    # Honest ones: clean_0 (12%, discarded at 10%), clean_1 (2%), clean_2 (1%). Kept below baseline: 6 leaks and two.
    assert (at_headline["honest_discoveries"], at_headline["honest_discarded"]) == (3, 1)
    assert (at_headline["discoveries"], found.estimate) == (8, 2 / 9)
    assert math.isnan(at_headline["rank_of_honest_best"])
    certified = next(row for (rule, _), row in rules.items() if rule == "certificate")
    assert (certified["jaccard"], certified["rank_of_honest_best"]) == (1.0, 1)
    assert "the honest best is itself discarded" in found.answer


def test_each_rule_selects_what_it_keeps_and_is_scored_honestly(cfg):
    proposals, certificates = zoo()
    seeds = [
        row | {key: row[key] + 0.001 * seed**2 for key in ("loss", "honest_loss")} | {"seed": seed}
        for row in proposals
        for seed in range(3)
    ]
    findings = by_id(audit(evidence(seeds, certificates), cfg))
    gains = {
        rule: findings[f"threshold.zoo.selected_{rule}.cpu-small"]
        for rule in ("no_rule", "one_sided", "two_sided", "certificate")
    }
    names = {rule: {row["name"] for row in found.details["selected"]} for rule, found in gains.items()}
    assert names["no_rule"] == {"leak_5"}
    assert names["one_sided"] == names["two_sided"] == {"leak_11"}
    assert names["certificate"] == {"clean_0"}
    assert gains["no_rule"].estimate == pytest.approx(0.005 / 3)
    assert gains["certificate"].estimate == pytest.approx(-0.12 * BASELINE + 0.005 / 3)
    assert gains["certificate"].interval[0] < gains["certificate"].estimate < gains["certificate"].interval[1]


def test_an_interval_that_calibration_forbids_is_not_shown(cfg):
    given = evidence(*zoo())
    used = methods_in_use(given, cfg)
    assert {method for method, _ in used} <= {check.method for check in CALIBRATION_CHECKS}
    assert {("clopper_pearson", 12), ("clopper_pearson", 7), ("roc_area.95", 12)} <= set(used)
    found = by_id(audit(given, cfg, frozenset({("clopper_pearson", 12), ("roc_area.80", 12)})))
    rate, area = (found[f"threshold.zoo.{what}.cpu-small"] for what in ("true_positive_rate", "roc_area"))
    assert "not shown" in rate.answer
    assert "not shown" in area.answer
    entries = findings_document("audit_threshold", [rate, area])["findings"]
    assert [entry["interval"] for entry in entries] == [None, None]


def test_every_program_has_a_finding_with_its_checks(cfg):
    proposals, certificates = zoo()
    certificates += certificate("1735", {"batch": "violated"}, source="asi_arch", name="some_net")
    certificates += certificate("9", dict.fromkeys(CHECKS, "not_runnable"), source="asi_arch", name="other_net")
    findings = by_id(audit(evidence(proposals, certificates), cfg))
    leak, clean = findings["leakage.zoo.leak_3"], findings["leakage.zoo.clean_3"]
    assert leak.details["checks"] == {check: LEAKY.get(check, "certified") for check in CHECKS}
    assert [row["check"] for row in leak.details["violations"]] == ["future", "length"]
    assert leak.details["violations"][0]["first_output"] == 3
    assert (leak.details["leaky"], clean.details["leaky"]) == (True, False)
    assert clean.answer.startswith("No leak above 1e−12")
    published = findings["leakage.asi_arch.1735"]
    assert published.details["checks"]["batch"] == "violated"
    assert "not settled" in findings["leakage.asi_arch.9"].answer
    census = findings["threshold.asi_arch.leaky_programs"]
    assert (census.estimate, census.n, census.interval) == (1.0, 2, None)
    assert (census.details["not_settled"], census.details["some_check_not_run"]) == (1, 1)
    assert census.details["counts"]["batch"] == {"not_runnable": 1, "violated": 1}


def test_what_survivors_cannot_tell_is_not_testable(cfg):
    given = evidence([], certificate("1735", source="asi_arch"))
    findings = by_id(audit(given, cfg))
    assert findings["threshold.asi_arch.sensitivity"].verdict == "not_testable"
    assert not [name for name in findings if "positive_rate" in name]


def test_published_programs_that_the_released_rule_would_discard_are_named(cfg):
    survivors = {"source": "asi_arch", "scale": "20M against delta_net", "seed": -1, "honest_loss": math.nan}
    survivors |= {"leak_gain": math.nan, "leak_gain_se": math.nan}
    rows = [proposal(str(place), 0.01 * place, **survivors) for place in range(6)]
    rows.append(proposal("6", -0.15, **survivors))
    rows.append(proposal("7", 0.0, **survivors | {"status": "missing", "loss": math.nan}))
    findings = by_id(audit(evidence(rows, []), cfg))
    rule = findings["threshold.asi_arch.released_rule.20m_against_delta_net"]
    assert (rule.estimate, rule.n) == (1.0, 7)
    assert rule.details["reasons"] == {"loss_below": 0, "loss_above": 1, "benchmark": 0}
    assert rule.details["programs"][0]["candidate"] == "6"
    discards = findings["threshold.asi_arch.discards.20m_against_delta_net"]
    assert dict(discards.details["groups"]["all"]["discarded"])[0.02] == 3
    assert discards.details["not_judged"] == 1
    margin = findings["threshold.asi_arch.margin.20m_against_delta_net"]
    assert margin.estimate == pytest.approx(0.05)
    assert "5.0 percentage points short of" in margin.answer


def test_an_archive_without_labels_has_discards_and_no_rates(cfg):
    rows = [proposal(str(place), 0.05 * place, source="mine", scale="archive", seed=-1) for place in range(5)]
    blank = {"honest_loss": math.nan, "leak_gain": math.nan, "leak_gain_se": math.nan}
    findings = by_id(audit(evidence([row | blank for row in rows], []), cfg))
    topics = sorted(name for name in findings if name.startswith("threshold.mine"))
    assert topics == ["threshold.mine.discards.archive"]
    assert findings[topics[0]].estimate == 2 / 5


def test_labels_of_an_archive_give_rates_and_no_certificates(cfg):
    same = {"source": "mine", "scale": "archive", "seed": -1}
    rows = [proposal(str(place), 0.05 * place, **same) for place in range(5)]
    labels = [
        row
        for place in range(5)
        for row in certificate(str(place), {DECLARED: "violated"} if place > 2 else {}, (DECLARED,), source="mine")
    ]
    findings = by_id(audit(evidence(rows, labels), cfg))
    assert findings["threshold.mine.true_positive_rate.archive"].estimate == 1.0
    assert "If this archive was written under such a rule" in findings["threshold.mine.precision.archive"].answer
    assert not [name for name in findings if name.startswith("leakage.")]


def test_nothing_at_all_gives_no_finding(cfg):
    assert audit(evidence([], []), cfg) == []
