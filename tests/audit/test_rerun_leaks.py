"""What a rerun says of arms that look ahead, or that may: in findings, comparisons, tables and on the page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from audit import rerun
from audit.evidence import Evidence
from audit.finding import findings_document
from audit.rerun import page as rerun_page
from audit.rerun.leaks import certificate_table, leak_gains, leak_summary, standings
from audit.rerun.plan import RerunSettings
from replication.certificate import CHECKS
from replication.settings import typed

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "audit" / "replicate.yaml"
OUTCOMES = {
    ("strong", "future"): "violated",
    ("weak", "batch"): "not_runnable",
    ("twin", "cost"): "violated",
    ("twin", "reload"): "not_runnable",
}
GAINS = {"strong": (1.5, 0.04), "weak": (0.0, 0.001)}


@pytest.fixture(scope="module")
def cfg() -> RerunSettings:
    return typed(RerunSettings, yaml.safe_load(CONFIG.read_text(encoding="utf-8")), "audit")


@pytest.fixture(scope="module")
def evidence(make_evidence) -> Evidence:
    return make_evidence(outcomes=OUTCOMES, gains=GAINS, noise=0.002)


@pytest.fixture(scope="module")
def findings(evidence, cfg):
    return {finding.id: finding for finding in rerun.audit(evidence, cfg)}


def names(evidence: Evidence) -> dict[str, str]:
    return dict(zip(evidence.arms["candidate"], evidence.arms["name"], strict=True))


def test_only_the_two_checks_of_leaks_decide_whether_an_arm_is_leaky_or_clean(evidence):
    standing = {names(evidence)[arm]: value for arm, value in standings(evidence).items()}
    assert {name: value for name, value in standing.items() if value != "clean"} == {
        "strong": "leaky", "weak": "not certified"
    }  # fmt: skip


def test_a_trained_run_that_gains_by_looking_ahead_contradicts_a_certificate(make_evidence, cfg):
    found = make_evidence(gains={"strong": (0.8, 0.02)})
    standing = {names(found)[arm]: value for arm, value in standings(found).items()}
    assert standing["strong"] == "not certified"
    assert set(standing.values()) == {"clean", "not certified"}
    (finding,) = [finding for finding in rerun.audit(found, cfg) if finding.id == "leakage.replicate.strong"]
    assert "contradicted by a trained run" in finding.answer


def test_a_violation_counts_even_where_the_other_check_could_not_run(make_evidence):
    found = make_evidence(outcomes={("strong", "future"): "not_runnable", ("strong", "batch"): "violated"})
    assert "leaky" in standings(found).values()


def test_an_arm_without_a_certificate_or_with_half_of_one_is_not_certified(evidence, cfg):
    strong = evidence.arms.set_index("name").at["twin", "candidate"]
    for checks in ([], ["future"], ["cost", "mode"]):
        kept = (evidence.certificates["candidate"] != strong) | evidence.certificates["check"].isin(checks)
        partial = Evidence(evidence.runs, evidence.experiments, evidence.certificates[kept])
        assert standings(partial)[strong] == "not certified"
    assert certificate_table(partial)["candidate"].nunique() == 8
    found = {finding.id: finding for finding in rerun.audit(partial, cfg)}
    assert "is not certified (it has no certificate)" in found["leakage.replicate.twin"].answer


def test_every_arm_has_a_finding_with_the_outcome_of_every_check(evidence, findings):
    findings_document("replicate", list(findings.values()))
    for name in evidence.arms["name"]:
        finding = findings[f"leakage.replicate.{name}"]
        assert finding.verdict == "measured"
        assert finding.claim is None
        assert finding.details["checks"] == {check: OUTCOMES.get((name, check), "certified") for check in CHECKS}


def test_a_leaky_arms_finding_names_the_violation_and_the_leak_gain_with_its_error(findings):
    strong = findings["leakage.replicate.strong"]
    assert strong.answer.startswith("Strong mixer leaks (future violated: output 3 depends on input 4)")
    assert "+1.500 ± 0.040 nats per token over 5 runs at cpu-small" in strong.answer
    assert strong.details["violations"] == [
        {"check": "future", "detail": "output 3 depends on input 4", "size": 0.5, "limit": 1e-9}
    ]
    gains = strong.details["leak_gain"]
    assert [(gain["scale"], gain["runs"]) for gain in gains] == [("cpu-small", 5), ("cpu-large", 5)]


def test_properties_that_are_no_leaks_are_named_as_such(findings):
    twin = findings["leakage.replicate.twin"]
    assert twin.answer.startswith("DeltaNet, renamed is certified")
    assert twin.answer.endswith("Violated, and no leak: cost. Not runnable: reload.")


def test_a_comparison_says_that_an_arm_is_leaky_and_judged_on_its_honest_loss(findings):
    strong = findings["replicate.cpu-small.strong.vs_delta_net"]
    assert "Strong mixer is leaky and is judged on its honest loss (leak gain +1.500 ± 0.040" in strong.answer
    assert (strong.details["candidate_standing"], strong.details["baseline_standing"]) == ("leaky", "clean")
    weak = findings["replicate.cpu-small.weak.vs_delta_net"]
    assert "Weak mixer is not certified to be free of leaks and is judged on its honest loss" in weak.answer
    assert "honest loss" not in findings["replicate.cpu-small.twin.vs_delta_net"].answer


def test_a_leaky_baseline_is_named_too(make_evidence, cfg):
    evidence = make_evidence(outcomes={("mamba2", "batch"): "violated"}, gains={"mamba2": (0.1, 0.01)})
    found = {finding.id: finding for finding in rerun.audit(evidence, cfg)}
    assert "Mamba-2 is leaky and is judged on its honest loss" in found["replicate.cpu-small.twin.vs_mamba2"].answer
    assert "leaky" not in found["replicate.cpu-small.twin.vs_delta_net"].answer


def test_verdicts_rest_on_the_honest_loss_whatever_the_ordinary_one_is(make_evidence, cfg):
    def flatter(runs: pd.DataFrame, experiments: pd.DataFrame) -> None:
        runs.loc[runs["name"] == "weak", "val_loss"] = 0.01

    outcomes = {("weak", "future"): "violated"}
    plain, flattered = make_evidence(outcomes=outcomes), make_evidence(flatter, outcomes)
    for one, other in zip(rerun.audit(plain, cfg), rerun.audit(flattered, cfg), strict=True):
        assert (one.id, one.answer, one.estimate) == (other.id, other.answer, other.estimate)


def test_the_mean_gain_keeps_the_error_of_a_single_run_since_all_runs_share_their_positions(evidence):
    strong = evidence.arms.set_index("name").at["strong", "candidate"]
    small = leak_gains(evidence, strong)[0]
    assert small["se"] == pytest.approx(0.04)
    assert small["mean"] == pytest.approx(1.5)


def test_an_unknown_error_is_not_printed_as_a_number(make_evidence, cfg):
    evidence = make_evidence(outcomes=OUTCOMES, gains={"strong": (1.5, float("nan"))})
    found = {finding.id: finding for finding in rerun.audit(evidence, cfg)}
    assert "+1.500 (its error is not known) nats per token" in found["leakage.replicate.strong"].answer
    assert "nan" not in found["leakage.replicate.strong"].answer


def test_the_summary_counts_clean_arms_and_names_the_others(evidence):
    text = leak_summary(evidence)
    assert text.startswith("6 of 8 programs are certified")
    assert "Leaky, and judged on the honest loss: Strong mixer." in text
    assert "Not certified, and judged on the honest loss: Weak mixer." in text


def test_the_page_marks_leaky_and_uncertified_arms_in_words(evidence, findings, cfg):
    about = rerun_page.About(corpus="-", counts=pd.DataFrame(), scales=pd.DataFrame(), calibration={}, confinement={})
    page = rerun_page.page(evidence, list(findings.values()), about, cfg, "a test")["page"]
    marks = {row["label"]: row["standing"] for row in page["verdicts"][0]["rows"]}
    assert marks == {
        "Strong mixer": "✗ leaky", "Weak mixer": "? not certified",
        "DeltaNet, renamed": "", "Close call": "", "Fragile mixer": "",
    }  # fmt: skip
    cells = {row["label"]: [cell["words"] for cell in row["cells"]] for row in page["certificates"]}
    assert cells["Strong mixer"] == ["✗ violated"] + ["✓"] * 6
    assert cells["Weak mixer"][1] == "? not runnable"
    assert len(page["leaks"]) == 2
    assert rerun_page.tables(evidence, list(findings.values()), about)["certificates"].shape == (56, 8)
