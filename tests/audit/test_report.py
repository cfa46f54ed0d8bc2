"""A report is written whole or not at all, stands alone, and shows strangers' text as text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml

from audit import rerun
from audit.calibrate import CalibrationStatus
from audit.manifest import manifest
from audit.report import _csv, write_report
from audit.rerun import page as rerun_page
from replication.settings import InputError, typed

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "<script>alert(1)</script> $x^2$ \"quoted\" 'name' &amp; --> ]]> {{ 7 * 7 }}"


def hostile(runs: pd.DataFrame, experiments: pd.DataFrame) -> None:
    runs.loc[runs["name"] == "strong", ["name", "label"]] = HOSTILE
    runs["error"] = runs["error"].astype(object)  # pandas' own text type has no place for a lone surrogate
    runs.loc[runs["status"] != "ok", "error"] = HOSTILE + "\x1b[2J\ud800"
    experiments["where"] = HOSTILE


@pytest.fixture(scope="module")
def build(make_evidence):
    """`build(change, calibration=...)`: keyword arguments of `write_report` for a whole synthetic session."""
    settings = yaml.safe_load((ROOT / "conf" / "audit" / "replicate.yaml").read_text(encoding="utf-8"))
    cfg = typed(rerun.RerunSettings, settings, "audit")

    def make(change=None, calibration=None, plan=cfg.plan, **arguments):
        evidence = make_evidence(change, **arguments)
        findings = rerun.audit(evidence, cfg)
        finished = evidence.runs[evidence.runs["status"] == "ok"]
        curves = pd.concat(
            [finished[["candidate", "scale", "seed"]].assign(step=step, loss=finished["val_loss"] + 1 / step)
             for step in (1, 50, 100)]
        )  # fmt: skip
        about = rerun_page.About(
            corpus="Source code. It shows little.",
            counts=pd.DataFrame({"model": ["3-gram"], "bits_per_byte": [2.4]}),
            scales=pd.DataFrame({"scale": evidence.scales, "steps": 100}),
            calibration=calibration or {},
            confinement={"files: Landlock <ABI>": 3},
        )
        now = datetime(2026, 1, 1, tzinfo=UTC)
        made = manifest(
            config={"hostile": HOSTILE}, plan=plan, registered_plan=cfg.registered_plan,
            command=["x", "\udc80"], seeds=[0], inputs={}, project=ROOT, started=now, finished=now,
        )  # fmt: skip
        return {
            "audit": "replicate",
            "findings": findings,
            "tables": rerun_page.tables(evidence, findings, about),
            "figures": rerun_page.draw(evidence, curves, findings, about, cfg),
            "manifest": made,
            "context": rerun_page.page(evidence, findings, about, cfg, "a test"),
        }

    return make


@pytest.fixture(scope="module")
def session(build):
    return build(hostile)


class Page(HTMLParser):
    """Tags, attribute values and visible text of a page."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += data


def test_a_run_folder_holds_findings_tables_figures_manifest_and_page_and_latest_points_at_it(session, tmp_path):
    page = write_report(tmp_path / "replicate" / "one", **session)
    folder = page.parent
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert {"findings.json", "manifest.json", "report.html", "tables/comparisons.csv", "figures/forest.svg"} <= set(
        names
    )
    assert json.loads((folder / "findings.json").read_text())["audit"] == "replicate"
    assert len(pd.read_csv(folder / "tables" / "comparisons.csv")) == 30
    assert (tmp_path / "replicate" / "latest").resolve() == folder
    write_report(tmp_path / "replicate" / "two", **session)
    assert (tmp_path / "replicate" / "latest").resolve().name == "two"
    assert sorted(path.name for path in (tmp_path / "replicate").iterdir()) == ["latest", "one", "two"]


def test_files_that_findings_refer_to_exist(session, tmp_path):
    folder = write_report(tmp_path / "one", **session).parent
    for finding in session["findings"]:
        for name in (*finding.tables, *finding.figures):
            assert (folder / name).is_file(), f"{finding.id} refers to {name}"


def test_hostile_names_and_errors_stay_text(session, tmp_path):
    source = write_report(tmp_path / "one", **session).read_text(encoding="utf-8")
    page = Page(source)
    assert "script" not in page.tags
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "\x1b" not in source


def test_the_page_needs_nothing_from_outside(session, tmp_path):
    page = Page(write_report(tmp_path / "one", **session).read_text(encoding="utf-8"))
    assert not {"link", "script", "img", "iframe", "object"} & set(page.tags)
    loaded = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "data")]
    assert all(value.startswith("#") for value in loaded)
    identifiers = [value for name, value in page.attributes if name == "id"]
    assert len(identifiers) == len(set(identifiers))
    assert page.tags.count("svg") == 4


def test_the_page_leads_with_a_summary_counted_from_the_findings_and_the_caveat_about_leaks(session, tmp_path):
    text = " ".join(Page(write_report(tmp_path / "one", **session).read_text(encoding="utf-8")).text.split())
    small = [f.details for f in session["findings"] if f.details.get("scale") == "cpu-small"]
    outcomes = [details["rerun_verdict"] for details in small if details["kind"] == "comparison"]
    assert f"15 comparisons: {outcomes.count('better')} better, {outcomes.count('worse')} worse" in text
    assert text.index("8 of 8 programs are certified") < text.index("The score is the honest validation loss")
    assert text.index("The score is the honest validation loss") < text.index("Verdicts")
    assert "1 diverged" in text


def test_a_changed_plan_and_a_doubtful_calibration_are_flagged(build, tmp_path):
    stale = CalibrationStatus(status="stale", sizes=(5,), failures=(), stress_failures=())
    doubtful = build(calibration={("decide.difference", 5): stale}, plan={"sesoi": 1.0}, seeds=2)
    text = Page(write_report(tmp_path / "one", **doubtful).read_text(encoding="utf-8")).text
    assert "not the registered one" in text
    assert "decide.difference at n = 5: stale" in text


def test_the_same_evidence_gives_the_same_page(build, tmp_path):
    pages = [
        write_report(tmp_path / name, **build(hostile, seeds=3)).read_text(encoding="utf-8") for name in ("a", "b")
    ]
    assert pages[0] == pages[1]


@pytest.mark.parametrize("where", ["file/run", "/proc/run"])
def test_a_folder_that_cannot_be_written_is_named_in_one_line(session, tmp_path, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=rf"{re.escape(where)}: the report cannot be written there \(.+\)$"):
        write_report(tmp_path / where, **session)


def test_an_existing_run_folder_is_not_overwritten(session, tmp_path):
    folder = write_report(tmp_path / "one", **session).parent
    before = (folder / "report.html").stat().st_mtime_ns
    with pytest.raises(InputError, match="exists already"):
        write_report(folder, **session)
    assert (folder / "report.html").stat().st_mtime_ns == before


FULL_DISK = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from audit.report import _csv, _publish, write_report
from replication.settings import InputError
import audit.report
folder = Path(sys.argv[2])
_publish(folder / "first", {"report.html": "whole"})
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
audit.report._page = lambda *arguments: "x" * 100_000
try:
    write_report(folder / "second", audit="replicate", findings=[], tables={}, figures={}, manifest={}, context={})
except InputError as error:
    print(error)
"""


def test_a_disk_that_fills_up_in_the_middle_of_a_write_leaves_the_last_report_in_place(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(ROOT), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r".*second: the report cannot be written there \(File too large\)\n", done.stdout)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "latest"]
    assert (tmp_path / "latest" / "report.html").read_text() == "whole"


def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe_and_numbers_do_not():
    texts = ["=cmd|x", "@SUM(A1)", "+cmd", "-2+3", "+0.43", "-1.5%", "plain", "−3"]
    table = pd.DataFrame({"text": texts, "number": [-1.5] * len(texts)})
    rows = _csv(table).splitlines()[1:]
    assert [row.rpartition(",")[0] for row in rows] == ["'=cmd|x", "'@SUM(A1)", "'+cmd", "'-2+3", *texts[4:]]
    assert {row.rpartition(",")[2] for row in rows} == {"-1.5"}
