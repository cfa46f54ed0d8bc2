"""`audit_scaling` from its settings to its report."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from audit.scaling_law.session import run_audit_scaling
from replication.settings import InputError

FEW = ("audit.resamples=200", "audit.draws=99", "audit.refits=49", "audit.extrapolation.resamples=100")


def archive(path, n=60):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"id": range(n), "loss": 2.0 + 0.1 * rng.normal(size=n), "baseline_loss": 1.95})
    table.assign(compute=rng.gamma(2.0, size=n).cumsum()).to_csv(path, index=False)
    return path


def run(tmp_path, *overrides):
    files = ("reference", "latest", "scales", "interventions.reference")
    absent = [f"{name}={tmp_path / 'nowhere'}" for name in files]
    run_audit_scaling([*FEW, *absent, f"paths.results={tmp_path}", *overrides])
    folder = tmp_path / "audit_scaling" / "latest"
    return folder, json.loads((folder / "findings.json").read_text())["findings"]


def test_without_published_data_an_archive_alone_is_judged_and_the_page_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ARCHAUDIT_PUBLISHED", str(tmp_path / "nowhere"))
    folder, findings = run(tmp_path, f"archive={archive(tmp_path / 'mine.csv')}")
    assert {finding["id"].split(".")[1] for finding in findings} == {"mine"}
    assert "The published data are not here" in (folder / "report.html").read_text()
    assert "not judged" in capsys.readouterr().out
    for finding in findings:
        for path in (*finding["tables"], *finding["figures"]):
            assert (folder / path).exists(), path


def test_with_neither_published_data_nor_an_archive_the_settings_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ARCHAUDIT_PUBLISHED", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"published\.root or archive"):
        run(tmp_path)


def test_the_published_search_brings_findings_of_both_its_sources_that_say_compute_was_not_measured(
    tmp_path, published_root
):
    folder, findings = run(tmp_path, f"published.root={published_root}")
    ids = {finding["id"] for finding in findings}
    for source in ("asi_arch", "asi_arch_figure1"):
        assert {f"law.{source}.{what}" for what in ("exponent", "best_model", "line_r2")} <= ids
    assert {"law.asi_arch.records", "law.asi_arch.quality"} <= ids
    assert all(finding["verdict"] == "measured" and finding["claim"] is None for finding in findings)
    assert "One published run cannot establish a law" in (folder / "report.html").read_text()
    exponent = next(finding for finding in findings if finding["id"] == "law.asi_arch.exponent")
    assert not exponent["details"]["compute_measured"]
    assert "No run times were released" in exponent["answer"]
