"""The rerun audit finds known effects, never forgives a failure, and does not depend on the order of its rows."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from audit.evidence import Evidence
from audit.finding import canonical_json, findings_document
from audit.manifest import plan_sha256
from audit.rerun import RerunSettings, audit, methods_in_use
from audit.statistics.simulation import CHECKS
from replication.settings import InputError, typed

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "audit" / "replicate.yaml"


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    return yaml.safe_load(CONFIG.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cfg(settings) -> RerunSettings:
    return typed(RerunSettings, settings, "audit")


def by_id(findings):
    return {finding.id: finding for finding in findings}


def outcomes(findings, scale, baseline):
    return {
        finding.details["candidate_name"]: finding.details["rerun_verdict"]
        for finding in findings
        if finding.details["kind"] == "comparison"
        and (finding.details["scale"], finding.details["baseline_name"]) == (scale, baseline)
    }


def set_status(name, scale, seeds, status):
    def change(runs: pd.DataFrame, experiments: pd.DataFrame) -> None:
        here = (runs["name"] == name) & (runs["scale"] == scale) & runs["seed"].isin(seeds)
        runs.loc[here, "status"] = status
        runs.loc[here, ["val_loss", "honest_loss", "bits_per_byte"]] = np.nan

    return change


def test_the_settings_on_disk_are_the_registered_plan(cfg):
    assert plan_sha256(cfg.plan) == cfg.registered_plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sesoi": 0.0}, "audit.sesoi: must be above 0"),
        ({"level": 1.0}, "audit.level: must lie between"),
        ({"power": 1.0}, "audit.power"),
        ({"max_seeds": 1}, "audit.max_seeds"),
        ({"correction": "none"}, "audit.correction: expected one of holm"),
        ({"alpha": 0.05}, "audit.alpha: unknown setting"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        typed(RerunSettings, settings | change, "audit")


def test_large_effects_are_found_in_the_right_direction_and_ids_fit_the_schema(make_evidence, cfg):
    findings = audit(make_evidence(noise=0.002), cfg)
    findings_document("replicate", findings)
    found = outcomes(findings, "cpu-small", "delta_net")
    assert (found["strong"], found["weak"], found["fragile"]) == ("better", "worse", "better")
    strong = by_id(findings)["replicate.cpu-small.strong.vs_delta_net"]
    assert strong.verdict == "measured"
    assert strong.claim is None
    assert strong.interval[0] < -0.4 < strong.interval[1]
    assert strong.estimate == pytest.approx(-0.4, abs=0.02)
    assert strong.n == 5
    assert sum(finding.details["kind"] == "comparison" for finding in findings) == 5 * 3 * 2


def test_the_p_value_is_the_holm_adjusted_one_and_the_interval_the_bonferroni_one(make_evidence, cfg):
    findings = [finding for finding in audit(make_evidence(), cfg) if finding.details["kind"] == "comparison"]
    for finding in findings:
        raw = finding.details["p_difference_unadjusted"]
        assert finding.p_value >= raw or math.isnan(raw)
    smallest = min(findings, key=lambda finding: np.nan_to_num(finding.details["p_difference_unadjusted"], nan=1.0))
    assert smallest.details["tests_in_family"] == 60
    pair = [entry["difference"] for entry in smallest.details["differences"]]
    from scipy import stats  # the textbook formula, written out

    reach = stats.t.ppf(1 - 0.05 / 60 / 2, len(pair) - 1) * np.std(pair, ddof=1) / math.sqrt(len(pair))
    assert smallest.interval == pytest.approx((np.mean(pair) - reach, np.mean(pair) + reach))


def test_an_exact_copy_with_little_noise_is_equivalent_and_a_noisy_one_undecided(make_evidence, cfg):
    quiet = by_id(audit(make_evidence(noise=0.0004), cfg))["replicate.cpu-small.twin.vs_delta_net"]
    assert quiet.details["rerun_verdict"] == "equivalent"
    noisy = by_id(audit(make_evidence(noise=0.01), cfg))["replicate.cpu-small.twin.vs_delta_net"]
    assert noisy.details["rerun_verdict"] == "undecided"
    assert noisy.details["seeds_needed"] > 5
    assert f"{noisy.details['seeds_needed']} seeds" in noisy.answer


def test_seeds_beyond_the_limit_are_said_to_be_more_than_it(make_evidence, settings):
    cfg = typed(RerunSettings, settings | {"max_seeds": 6}, "audit")
    noisy = by_id(audit(make_evidence(noise=0.05), cfg))["replicate.cpu-small.twin.vs_delta_net"]
    assert (noisy.details["seeds_needed"], noisy.details["seeds_needed_above"]) == (None, 6)
    assert "more than 6 seeds" in noisy.answer


def test_an_arm_with_a_failed_seed_is_never_better_or_equivalent_and_its_failures_are_named(make_evidence, cfg):
    findings = by_id(audit(make_evidence(noise=0.002), cfg))
    fragile = findings["replicate.cpu-large.fragile.vs_delta_net"]
    assert fragile.details["rerun_verdict"] == "undecided"
    assert fragile.details["failures"]["candidate"] == {"diverged": 1}
    assert fragile.n == 4
    assert "1 of 40 runs failed (Fragile mixer: 1 diverged)" in findings["replicate.cpu-large.failures"].answer
    assert "0 of 40 runs failed." in findings["replicate.cpu-small.failures"].answer


@pytest.mark.parametrize(
    ("status", "expected"),
    [("diverged", "worse"), ("timed_out", "undecided"), ("too_slow", "undecided"), ("out_of_memory", "worse")],
)
def test_a_weak_arm_that_also_failed_is_worse_unless_the_machine_was_to_blame(make_evidence, cfg, status, expected):
    evidence = make_evidence(set_status("weak", "cpu-small", [2], status), noise=0.002)
    assert outcomes(audit(evidence, cfg), "cpu-small", "delta_net")["weak"] == expected


def test_a_run_that_is_not_in_the_table_is_missing_not_forgotten(make_evidence, cfg):
    whole = make_evidence(noise=0.002)
    gone = (whole.runs["name"] == "strong") & (whole.runs["scale"] == "cpu-small") & (whole.runs["seed"] == 4)
    findings = by_id(audit(Evidence(whole.runs[~gone], whole.experiments, whole.certificates), cfg))
    strong = findings["replicate.cpu-small.strong.vs_delta_net"]
    assert strong.details["failures"]["candidate"] == {"missing": 1}
    assert strong.details["rerun_verdict"] == "undecided"
    assert "Strong mixer: 1 missing" in findings["replicate.cpu-small.failures"].answer


def test_an_arm_without_a_single_finished_run_still_has_its_findings(make_evidence, cfg):
    findings = by_id(audit(make_evidence(set_status("weak", "cpu-small", range(5), "crashed")), cfg))
    weak = findings["replicate.cpu-small.weak.vs_mamba2"]
    assert (weak.n, weak.details["rerun_verdict"], weak.details["differences"]) in [
        (0, "undecided", []),
        (0, "worse", []),
    ]
    entry = findings_document("replicate", [weak])["findings"][0]
    assert (entry["estimate"], entry["interval"]) == (None, None)
    assert "replicate.cpu-small.seed_sd.weak" not in findings


def test_one_seed_decides_nothing(make_evidence, cfg):
    findings = audit(make_evidence(seeds=1), cfg)
    findings_document("replicate", findings)
    assert set(outcomes(findings, "cpu-small", "delta_net").values()) == {"undecided"}


def test_the_document_is_the_same_byte_for_byte_whatever_the_order_of_rows(make_evidence, cfg):
    evidence = make_evidence()
    texts = set()
    for random_state in range(3):
        shuffled = Evidence(
            evidence.runs.sample(frac=1.0, random_state=random_state),
            evidence.experiments,
            evidence.certificates.sample(frac=1.0, random_state=random_state),
        )
        texts.add(canonical_json(findings_document("replicate", audit(shuffled, cfg))))
    assert len(texts) == 1


def test_how_long_runs_took_leaves_no_trace_in_the_findings(make_evidence, cfg):
    def slow(runs: pd.DataFrame, experiments: pd.DataFrame) -> None:
        runs["wall_seconds"] *= 3
        runs["tokens_per_second"] /= 3
        runs["peak_memory_bytes"] += 1
        runs["run_id"] = runs["run_id"].str[::-1]

    assert canonical_json(findings_document("replicate", audit(make_evidence(), cfg))) == canonical_json(
        findings_document("replicate", audit(make_evidence(slow), cfg))
    )


def test_hostile_and_equal_names_still_give_distinct_ids_and_labels(make_evidence, cfg):
    def rename(runs: pd.DataFrame, experiments: pd.DataFrame) -> None:
        for name, new in (("strong", "<script>alert(1)</script>"), ("weak", "混合"), ("twin", "close_call")):
            runs.loc[runs["name"] == name, "name"] = new
        runs.loc[runs["name"] == "close_call", "label"] = "Same label"

    findings = audit(make_evidence(rename), cfg)
    findings_document("replicate", findings)
    labels = {
        f.details["candidate"]: f.details["candidate_label"] for f in findings if f.details["kind"] == "comparison"
    }
    assert len(set(labels.values())) == 5
    assert any(
        re.fullmatch(r"replicate\.cpu-small\.script_alert_1_script-[0-9a-f]{8}\.vs_mamba2", f.id) for f in findings
    )


def test_search_gain_stands_beside_the_rerun_gain_and_claims_nothing(make_evidence, cfg):
    finding = by_id(audit(make_evidence(noise=0.002), cfg))["replicate.cpu-small.strong.search_vs_rerun.delta_net"]
    details = finding.details
    assert details["search_gain"] == pytest.approx(0.4)
    assert details["search_share"] == pytest.approx(0.4 / 4.6)
    assert details["rerun_share"] == pytest.approx(0.4 / 2.5, abs=0.01)
    assert finding.estimate == pytest.approx(details["rerun_share"] - details["search_share"])
    assert finding.interval[0] < finding.estimate < finding.interval[1]
    assert details["ratio"] == pytest.approx(details["rerun_share"] / details["search_share"])
    low, high = details["ratio_interval"]
    assert (low * details["search_share"], high * details["search_share"]) == pytest.approx(
        details["rerun_share_interval"]
    )
    assert finding.verdict == "measured"
    assert "neither supports nor contradicts" in finding.answer


def test_a_search_score_against_a_baseline_that_was_not_rerun_says_so(make_evidence, cfg):
    def other(runs: pd.DataFrame, experiments: pd.DataFrame) -> None:
        experiments.loc[0, "baseline"] = "RetNet"

    findings = [f for f in audit(make_evidence(other), cfg) if f.details["kind"] == "search_vs_rerun"]
    assert [(f.estimate, f.details["outcome"]) for f in findings] == [(None, "not_rerun")] * 2
    assert all("RetNet is no arm of this rerun" in f.answer for f in findings)


def test_equal_rankings_have_tau_one_and_arms_with_failures_are_left_out_by_name(make_evidence, cfg):
    finding = by_id(audit(make_evidence(noise=0.0001), cfg))["replicate.rank_stability.cpu-small_cpu-large"]
    assert finding.details["left_out"] == ["Fragile mixer"]
    assert finding.n == 7
    assert finding.estimate > 0.9


def test_the_mixed_model_agrees_with_large_paired_effects(make_evidence, cfg):
    finding = by_id(audit(make_evidence(), cfg))["replicate.mixed_model"]
    sides = {(row["candidate"], row["baseline"], row["scale"]): row["side"] for row in finding.details["contrasts"]}
    assert sides["Strong mixer", "DeltaNet", "cpu-small"] == "better"
    assert sides["Weak mixer", "DeltaNet", "cpu-large"] == "worse"
    assert finding.details["rows_without_loss"] == 1


def test_interquartile_mean_appears_from_ten_seeds_on(make_evidence, cfg):
    identifier = "replicate.cpu-small.strong.vs_delta_net"
    assert "interquartile_mean" not in by_id(audit(make_evidence(seeds=9), cfg))[identifier].details
    details = by_id(audit(make_evidence(seeds=10), cfg))[identifier].details
    assert details["interquartile_mean"]["estimate"] == pytest.approx(-0.4, abs=0.02)
    assert "bca_mean" not in details


def test_baselines_alone_give_noise_and_failures_but_no_comparison(make_evidence, cfg):
    whole = make_evidence()
    runs = whole.runs[whole.runs["role"] == "baseline"]
    known = whole.certificates["candidate"].isin(runs["candidate"])
    baselines = Evidence(runs, whole.experiments, whole.certificates[known])
    kinds = {finding.details["kind"] for finding in audit(baselines, cfg)}
    assert kinds == {"seed_sd", "rank_stability", "certificate", "failures"}


def test_every_method_in_use_can_be_calibrated(make_evidence):
    assert {method for method, _ in methods_in_use(make_evidence(seeds=20))} <= {check.method for check in CHECKS}
    assert {n for _, n in methods_in_use(make_evidence())} == {4, 5}


def test_an_interval_that_failed_its_calibration_is_not_shown_and_the_verdict_stays(make_evidence, cfg):
    withheld = frozenset({("simultaneous_interval", 5), ("sd_interval", 5)})
    shown, hidden = by_id(audit(make_evidence(), cfg)), by_id(audit(make_evidence(), cfg, withheld))
    identifier = "replicate.cpu-small.strong.vs_delta_net"
    entry = findings_document("replicate", [hidden[identifier]])["findings"][0]
    assert entry["interval"] is None
    assert "interval none at this n" in entry["answer"]
    assert hidden[identifier].details["rerun_verdict"] == shown[identifier].details["rerun_verdict"] == "better"
    assert all(math.isnan(limit) for limit in hidden["replicate.cpu-small.seed_sd.strong"].interval)
    four = "replicate.cpu-large.fragile.vs_delta_net"  # four pairs: another size
    assert hidden[four].interval == shown[four].interval
