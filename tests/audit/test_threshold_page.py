"""The page of the threshold audit leads with what was found, says what that does not show, and shows all of it."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from audit import threshold
from audit.calibrate import CalibrationStatus
from audit.manifest import manifest
from audit.report import write_report
from audit.threshold import page as threshold_page
from audit.threshold.evidence import CERTIFICATE_COLUMNS, PROPOSAL_COLUMNS, ThresholdEvidence
from audit.threshold.frames import certificates_zoo, discard_shares, leak_gains
from audit.threshold.outcomes import discard_table
from audit.threshold.rates import rate_table
from replication.certificate import CHECKS
from replication.leaks import ZOO
from replication.settings import typed

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<script>alert(1)</script> $x^2$ {{ 7 * 7 }} \x1b[2J"
BASELINE = 2.0


def certificate(source, candidate, fires=(), not_runnable=(), name=None, family="", strength=math.nan):
    rows = []
    for check in CHECKS:
        outcome = "violated" if check in fires else "not_runnable" if check in not_runnable else "certified"
        row = {
            "source": source, "candidate": candidate, "name": name or candidate, "family": family, "strength": strength,
            "check": check, "outcome": outcome, "size": 0.5 if check in fires else math.nan, "limit": 1e-9,
            "detail": HOSTILE if outcome != "certified" else "",
        }  # fmt: skip
        first = {"first_output": 3, "position": 4, "seed": 7, "mode": "eval", "length": 8, "dtype": "float64"}
        rows.append(row | (first if check in fires else dict.fromkeys(first)) | {"gradient": None})
    return rows


def proposal(source, candidate, drop, leak, seed=0, name=None, family="", strength=math.nan, scale="cpu-small", **more):
    loss = BASELINE * (1 - drop)
    return {
        "source": source, "scale": scale, "candidate": candidate, "name": name or candidate, "family": family,
        "strength": strength, "seed": seed, "status": "ok", "loss": loss, "honest_loss": loss + BASELINE * leak,
        "leak_gain": BASELINE * leak, "leak_gain_se": 0.01, "baseline_loss": BASELINE, "benchmark": math.nan,
        "baseline_benchmark": math.nan,
    } | more  # fmt: skip


def tables():
    """Every specimen as planted (leaks fall 20% below baseline), one graded leak, three published programs."""
    proposals, certificates = [], []
    for place, specimen in enumerate(ZOO):
        leak = 0.2 if specimen.leaky else 0.0
        certificates += certificate("zoo", f"z{place}", specimen.fires, name=specimen.name, family=specimen.name)
        proposals += [
            proposal(
                "zoo", f"z{place}", leak + 0.002 * (place % 5) + 0.001 * seed, leak, seed, specimen.name, specimen.name
            )
            for seed in (0, 1)
        ]
    for strength in (0.0, 0.1, 1.0):
        fires = ("future", "length") if strength else ()
        called = {"name": f"next_token-{strength:g}", "family": "next_token", "strength": strength}
        certificates += certificate("mixed", f"m{strength:g}", fires, **called)
        proposals += [
            proposal("mixed", f"m{strength:g}", 0.3 * strength, 0.3 * strength, seed, scale=scale, **called)
            for seed in (0, 1)
            for scale in ("cpu-small", "cpu-large")
        ]
    certificates += certificate("asi_arch", "11", ("future",), name="tell-tale")
    certificates += certificate("asi_arch", "12", ("mode",))
    certificates += certificate("asi_arch", "13", (), CHECKS)
    known = {"honest_loss": math.nan, "leak_gain": math.nan, "leak_gain_se": math.nan}
    proposals += [
        proposal("asi_arch", key, drop, 0.0, -1, "tell-tale" if key == "11" else key, scale="20M against x", **known)
        for key, drop in (("11", 0.05), ("12", 0.01))
    ]
    return proposals, certificates


def evidence(proposals, certificates):
    return ThresholdEvidence(
        pd.DataFrame(proposals, columns=list(PROPOSAL_COLUMNS)),
        pd.DataFrame(certificates, columns=list(CERTIFICATE_COLUMNS)),
    )


@pytest.fixture(scope="module")
def cfg():
    settings = yaml.safe_load((ROOT / "conf" / "audit" / "threshold.yaml").read_text(encoding="utf-8"))
    return typed(threshold.ThresholdSettings, settings | {"resamples": 100}, "audit")


def about(**changes):
    found = {
        "byline": "a test", "origin": ["Taken from somewhere.", "With other settings."], "published_note": "",
        "archive_note": "No archive.", "maps": {"clean": np.triu(np.ones((6, 6)))}, "calibration": {},
    }  # fmt: skip
    return threshold_page.About(**(found | changes))


@pytest.fixture(scope="module")
def build(cfg):
    def make(proposals, certificates, **changes):
        read, said = evidence(proposals, certificates), about(**changes)
        findings = threshold.audit(read, cfg, said.withheld)
        now = datetime(2026, 1, 1, tzinfo=UTC)
        made = manifest(
            config={}, plan=cfg.plan, registered_plan=cfg.registered_plan, command=["x"], seeds=[0], inputs={},
            project=ROOT, started=now, finished=now,
        )  # fmt: skip
        return {
            "audit": "audit_threshold",
            "findings": findings,
            "tables": threshold_page.tables(read, said, cfg),
            "figures": threshold_page.draw(read, findings, said, cfg),
            "manifest": made,
            "context": threshold_page.page(read, findings, said, cfg),
        }

    return make


@pytest.fixture(scope="module")
def report(build, tmp_path_factory):
    session = build(*tables())
    return session, write_report(tmp_path_factory.mktemp("report") / "one", **session)


class Text(HTMLParser):
    def __init__(self, source):
        super().__init__()
        self.text, self.tags = "", []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += f" {data}"


def words(path):
    return " ".join(Text(path.read_text(encoding="utf-8")).text.split())


def test_every_figure_and_table_that_a_finding_names_is_there(report):
    session, path = report
    assert {
        name for f in session["findings"] for name in (*f.tables, *f.figures) if not (path.parent / name).is_file()
    } == set()
    assert json.loads((path.parent / "findings.json").read_text())["audit"] == "audit_threshold"
    figures = {"certificates_zoo", "certificates_published", "dependency", "roc", "discards", "leak_gain"}
    assert set(session["figures"]) == figures


def test_the_page_leads_with_counts_and_says_what_they_do_not_show(report):
    _, path = report
    text = words(path)
    leaky = sum(specimen.leaky for specimen in ZOO)
    assert "1 of 3 published programs leak" in text
    assert f"finds {leaky} of {leaky} planted leaks and accuses 0 of {len(ZOO) - leaky} clean ones" in text
    assert (
        text.index("planted leaks and accuses") < text.index("What this does not show") < text.index("Each program is")
    )
    assert f"{leaky} of {leaky} leaky programs are discarded (100%" in text
    assert "cpu-small: from strength 0.18 on" in text  # 10% of a drop of 30% times strength: log-interpolated
    assert "With other settings." in text


def test_leaky_and_unsettled_published_programs_are_named(report):
    _, path = report
    text = words(path)
    assert "tell-tale (index 11) leaks" in text
    assert "Whether 13 (index 13) leaks is not settled" in text


def test_strangers_text_stays_text(report):
    _, path = report
    page = Text(path.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text


def test_an_outcome_that_was_not_planted_is_named(build, tmp_path):
    proposals, certificates = tables()
    missed = next(row for row in certificates if row["name"] == "next_token" and row["check"] == "future")
    missed["outcome"] = "certified"
    text = words(write_report(tmp_path / "one", **build(proposals, certificates)))
    assert "next_token: future is certified, planted was violated" in text


def test_without_runs_or_published_programs_the_page_says_so_and_rates_nothing(build, tmp_path):
    certificates = [row for row in tables()[1] if row["source"] != "asi_arch"]
    session = build(
        [], certificates, origin=["There are no trained results."], published_note="No programs at hand.", maps={}
    )
    text = words(write_report(tmp_path / "one", **session))
    assert set(session["figures"]) == {"certificates_zoo"}
    assert "There are no trained results." in text
    assert text.count("No programs at hand.") == 2
    assert "the rule cannot be rated" in text


def test_an_interval_that_calibration_refuses_is_not_shown(build, cfg, tmp_path):
    failed = CalibrationStatus(status="failed", sizes=(5,), failures=("n=5 0.80",), stress_failures=())
    methods = threshold.methods_in_use(evidence(*tables()), cfg)
    session = build(*tables(), calibration={key: failed for key in methods if key[0] == "clopper_pearson"})
    assert "(no interval)" in words(write_report(tmp_path / "one", **session))
    rates = session["tables"]["rates"]
    assert rates[[column for column in rates if column.endswith(("_low", "_high"))]].isna().all(axis=None)


def test_the_zoo_stands_in_the_order_of_its_registry_with_what_was_planted():
    frame = certificates_zoo(evidence(*tables()))
    leaky = [specimen.name for specimen in ZOO if specimen.leaky]
    assert list(frame.loc[frame["group"] == "leaks", "name"].unique()) == leaky
    assert (frame["expected"] == frame["outcome"]).all()


def test_gains_are_means_over_seeds_with_their_range_and_a_clean_programs_leak_gain_is_none():
    gains = leak_gains(evidence(*tables())).set_index(["source", "name", "scale"])
    leaky = gains.loc[("zoo", "next_token", "cpu-small")]
    assert leaky["state"] == "leaky"
    assert leaky["seeds"] == 2
    assert (leaky["loss_gain_low"], leaky["loss_gain"], leaky["loss_gain_high"]) == pytest.approx((0.4, 0.401, 0.402))
    assert gains.loc[("zoo", "running_max", "cpu-small"), "leak_gain"] == pytest.approx(0, abs=1e-12)


def test_discards_have_intervals_where_leaky_and_clean_are_told_apart_and_only_there(cfg):
    read = evidence(*tables())
    shares = discard_shares(discard_table(read, cfg), rate_table(read, cfg)).set_index(["panel", "group"])
    assert shares.loc[("zoo: cpu-small", "clean"), "high"].notna().all()
    assert shares.loc["published: 20M against x"].index.unique().tolist() == ["all"]
    assert shares.loc["published: 20M against x", "low"].isna().all()
