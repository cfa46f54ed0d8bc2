"""The smallest leak that the rule sees: crossings interpolated, bounded or denied, as the strengths tried allow."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from audit.finding import findings_document
from audit.threshold import ThresholdSettings, audit
from audit.threshold.evidence import CERTIFICATE_COLUMNS, PROPOSAL_COLUMNS, ThresholdEvidence
from audit.threshold.mixed import crossing
from replication.certificate import CHECKS
from replication.settings import typed

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "audit" / "threshold.yaml"
STRENGTHS = (0.0, 0.01, 0.1, 1.0)
BASELINE = 5.0


@pytest.fixture(scope="module")
def cfg() -> ThresholdSettings:
    return typed(ThresholdSettings, yaml.safe_load(CONFIG.read_text(encoding="utf-8")), "audit")


@pytest.mark.parametrize(
    ("drops", "kind", "strength", "falls_back"),
    [
        ([0.0, 0.0, 0.2, 0.3], "crossed", math.sqrt(0.001), False),
        ([0.0, 0.05, 0.1, 0.3], "crossed", 0.1, False),
        ([0.0, 0.0, 0.2, 0.0], "crossed", math.sqrt(0.001), True),
        ([0.0, 0.11, 0.2, 0.3], "smallest", 0.01, False),
        ([0.2, 0.2, 0.2, 0.2], "zero", 0.0, False),
        ([0.0, 0.01, 0.02, 0.1], "never", 1.0, False),
    ],
)
def test_a_crossing_is_placed_between_strengths_or_said_to_be_beyond_them(drops, kind, strength, falls_back):
    found = crossing(np.array(STRENGTHS), np.array(drops), 0.1)
    assert (found.kind, found.falls_back) == (kind, falls_back)
    assert found.strength == pytest.approx(strength)


def test_without_strength_0_the_smallest_strength_is_a_bound():
    assert crossing(np.array([0.1, 1.0]), np.array([0.2, 0.3]), 0.1).kind == "smallest"


def mixed(drops_by_seed, seen_from=0.01, failed=()):
    """Evidence of one graded leak; drops_by_seed: seed -> drops at STRENGTHS; failed: (strength, seed)."""
    proposals, certificates = [], []
    for strength in (*STRENGTHS, 1e-4):
        leaky = strength >= seen_from
        same = {"source": "mixed", "candidate": f"s{strength:g}", "name": "shift", "family": "shift"}
        same["strength"] = strength
        blank = dict.fromkeys(("first_output", "position", "seed", "mode", "length", "dtype", "gradient"))
        certificates += [
            {**same, "check": check, "outcome": "violated" if leaky and check == "future" else "certified",
             "size": 0.1, "limit": 1e-9, "detail": "", **blank}
            for check in CHECKS
        ]  # fmt: skip
        for seed, drops in drops_by_seed.items() if strength in STRENGTHS else ():
            loss = BASELINE * (1 - drops[STRENGTHS.index(strength)])
            gain = 2 * strength if leaky else math.nan
            ok = (strength, seed) not in failed
            proposals.append(
                {**same, "scale": "cpu-small", "seed": seed, "status": "ok" if ok else "diverged",
                 "loss": loss if ok else math.nan,
                 "honest_loss": (loss + (gain if leaky else 0.0)) if ok else math.nan,
                 "leak_gain": gain if ok else math.nan, "leak_gain_se": 0.02 if leaky and ok else math.nan,
                 "baseline_loss": BASELINE, "benchmark": math.nan, "baseline_benchmark": math.nan}
            )  # fmt: skip
    return ThresholdEvidence(
        pd.DataFrame(proposals, columns=list(PROPOSAL_COLUMNS)),
        pd.DataFrame(certificates, columns=list(CERTIFICATE_COLUMNS)),
    )


def the_finding(evidence, cfg):
    findings = {finding.id: finding for finding in audit(evidence, cfg)}
    findings_document("audit_threshold", list(findings.values()))
    assert not [name for name in findings if "positive_rate" in name or "leakage." in name]
    return findings["threshold.mixed.smallest_leak.shift.cpu-small"]


def test_the_smallest_leak_comes_with_the_range_of_seeds_and_its_leak_gain(cfg):
    found = the_finding(mixed({1: [0, 0, 0.2, 0.4], 2: [0, 0.05, 0.15, 0.4], 3: [0, 0.05, 0.25, 0.4]}), cfg)
    low, high = 0.1 / 3, 0.2  # mean drops at 0.01 and 0.1
    share = (0.1 - low) / (high - low)
    assert found.estimate == pytest.approx(10 ** (-2 + share))
    assert (found.interval, found.n) == (None, 3)
    assert found.details["leak_gain"]["mean"] == pytest.approx(2 * (0.01 + share * 0.09))
    assert [row["outcome"] for row in found.details["seeds"]] == ["crossed"] * 3
    assert "every seed alike, between 0.018 and 0.032" in found.answer
    assert "no confidence interval" in found.method


def test_the_certificate_is_told_down_to_its_own_smallest_strength(cfg):
    drops = {1: [0, 0, 0.2, 0.4]}
    missed = the_finding(mixed(drops), cfg)
    assert missed.details["certificate"] == {"seen": [0.01, 0.1, 1.0], "not_seen": [0.0, 1e-4], "unknown": []}
    assert "down to 0.01, and not at 0.0001" in missed.answer
    assert "down to 0.0001, the smallest tried" in the_finding(mixed(drops, seen_from=1e-4), cfg).answer
    assert "at no strength tried" in the_finding(mixed(drops, seen_from=2.0), cfg).answer
    assert "also accuses the program without the leak" in the_finding(mixed(drops, seen_from=0.0), cfg).answer


def test_a_leak_that_the_rule_never_sees_has_no_estimate(cfg):
    found = the_finding(mixed({1: [0, 0, 0.01, 0.02], 2: [0, 0, 0.0, 0.17]}), cfg)
    assert (found.estimate, found.details["outcome"], found.details["leak_gain"]) == (None, "never", None)
    assert "at no strength up to 1, the largest tried" in found.answer
    assert "(1 seed of 2 alike)" in found.answer


def test_a_failed_run_is_counted_and_its_seed_judged_by_what_is_left(cfg):
    drops = {seed: [0, 0, 0.2, 0.4] for seed in (1, 2, 3)}
    found = the_finding(mixed(drops, failed={(0.1, 2)}), cfg)
    assert found.estimate == pytest.approx(math.sqrt(0.001))
    assert found.details["failed_runs"] == 1
    assert "Left out: 1 run that failed" in found.answer
