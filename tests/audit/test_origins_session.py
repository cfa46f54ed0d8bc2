"""The whole session: on a synthetic paper, and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from audit.manifest import plan_sha256
from audit.origins.plan import OriginSettings
from audit.origins.session import run_audit_origins
from replication.configure import compose
from replication.settings import InputError, typed
from tests.audit.synthetic_paper import synthetic_paper, write_paper

QUICK = ("audit.resamples=200", "audit.most_units=9000")


def run(results: Path, root: Path, *more: str) -> Path:
    free = ("published.gallery.sha256=null", "published.tree.sha256=null")
    run_audit_origins([f"published.root={root}", f"paths.results={results}", *free, *QUICK, *more])
    return results / "audit_origins" / "latest"


def findings(report: Path) -> dict[str, dict]:
    return {one["id"]: one for one in json.loads((report / "findings.json").read_text())["findings"]}


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_paper(synthetic_paper(3), folder)
    return folder


@pytest.fixture(scope="module")
def report(paper, tmp_path_factory) -> Path:
    return run(tmp_path_factory.mktemp("results"), paper)


def test_a_report_has_the_findings_of_both_sources_and_claims_nothing(report):
    found = findings(report)
    for source in ("asi_arch", "reference"):
        for channel in ("experience", "cognition", "originality"):
            assert found[f"origins.{source}.{channel}_difference"]["unit"] == "percentage points"
        assert found[f"components.{source}.top4_share"]["unit"] == "percent"
    assert {one["verdict"] for one in found.values()} == {"measured", "not_testable"}
    assert all(one["claim"] is None for one in found.values())


def test_every_table_and_figure_that_a_finding_names_is_there_or_empty(report):
    named = {name for one in findings(report).values() for name in one["tables"]}
    written = {path.stem for path in (report / "tables").iterdir()}
    assert named - written <= {"components_by_number"}
    assert {name for one in findings(report).values() for name in one["figures"]} <= {
        path.stem for path in (report / "figures").iterdir()
    }


def test_the_page_says_what_it_does_not_show(report):
    text = " ".join((report / "report.html").read_text().split())
    for words in ("not where an idea came from", "no evidence about ASI-Arch", "at equal age"):
        assert words in text
    assert "nan" not in text.lower().replace("nano", "")


def test_without_published_data_the_archive_alone_is_audited_with_the_same_answers(report, tmp_path, capsys):
    alone = findings(run(tmp_path / "results", tmp_path / "nowhere"))
    assert "No published shares" in capsys.readouterr().out
    assert all(".reference." in name for name in alone)
    both = findings(report)
    assert all(alone[name] == both[name] for name in alone)


def test_an_archive_that_is_not_there_is_an_error_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"archive: .*components.csv is not there"):
        run(tmp_path, tmp_path, f"archive={tmp_path}")


def test_the_plan_is_the_registered_one():
    cfg = typed(OriginSettings, compose("audit_origins", [])["audit"], "audit")
    assert plan_sha256(cfg.plan) == cfg.registered_plan


@pytest.mark.parametrize(
    "override", ["audit.level=95", "audit.design_effects=[0.5]", "audit.heads=[]", "labeller=guess"]
)
def test_a_setting_out_of_range_is_an_error_in_one_line(tmp_path, override):
    with pytest.raises(InputError, match=override.split("=")[0]):
        run(tmp_path, tmp_path, override)
