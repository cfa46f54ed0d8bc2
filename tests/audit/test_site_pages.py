"""Rows of the site's pages: stale calibration, methods, warnings and navigation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from audit.calibrate import COLUMNS, code_sha256
from audit.finding import Finding
from audit.site.folders import Hardware, InputFile, PlanState, Provenance, Run, SessionEntry
from audit.site.pages import Site, address, calibration, headline, methods, provenance, see_also, with_navigation
from audit.statistics.simulation import CHECKS

CHECK, OTHER = CHECKS[:2]
ENTRY = SessionEntry(
    name="audit_scaling", title="Law", question="?", command="nox -s audit_scaling", reference=None,
    headlines=("law.*.exponent", "law.*"),
)  # fmt: skip
MADE = Provenance(
    command=("python",), commit="a" * 40, dirty=False, packages={"numpy": "2"}, python="3", os="x", seeds=(),
    hardware=Hardware(cpu="x", cores=2, usable_cores=2, memory_bytes=None, gpu=()),
    inputs=(InputFile(what="calibration", file="calibration.csv", sha256="c" * 64),),
    decision_plan=PlanState(sha256="p", registered_sha256="p", as_registered=True), started="s", finished="f",
)  # fmt: skip


def finding(name: str, **fields) -> Finding:
    return Finding(id=name, question="?", answer=name, **({"verdict": "measured", "method": "Counted."} | fields))


def run(*findings: Finding, page: str | None = "", made: Provenance = MADE) -> Run:
    return Run(
        entry=ENTRY,
        folder=Path("x"),
        origin="own",
        findings=findings,
        manifest={},
        provenance=made,
        page=page,
        files={},
    )


def site(one: Run, rows=(), sha256: str = "c" * 64) -> Site:
    return Site(
        entries=[ENTRY], runs={"audit_scaling": one}, candidates=[], calibration=pd.DataFrame(rows, columns=COLUMNS),
        calibration_sha256=sha256, checks=[CHECK, OTHER], shown_headlines=1, manifest={"commit": "a" * 40},
    )  # fmt: skip


def row(method: str, passed: bool, code: str, role: str = "met") -> dict[str, object]:
    return {
        "method": method, "n": 5, "noise": "normal", "role": role, "rule": "interval", "target": 0.95, "estimate": 0.9,
        "repetitions": 100, "monte_carlo_se": 0.01, "passed": passed, "code_sha256": code, "seed": 1,
    }  # fmt: skip


def test_rows_made_by_other_code_are_stale_whether_they_passed_or_not():
    code = code_sha256(CHECK)
    rows = [
        row(CHECK.method, True, code), row(CHECK.method, False, code), row(CHECK.method, True, "0"),
        row(CHECK.method, False, "0"), row(CHECK.method, False, code, "stress"), row("gone", True, code),
    ]  # fmt: skip
    found = calibration(site(run(), rows))
    assert [one["state"] for one in found["rows"]] == [
        "passed", "failed", "stale (passed)", "stale (failed)", "failed under stress", "no longer in use",
    ]  # fmt: skip
    assert len(found["failed"]) == 2, "what fails under stress alone is no failure in use"
    assert found["missing"] == [OTHER.method]


def test_a_run_with_another_calibration_other_code_or_uncommitted_changes_carries_a_warning():
    assert provenance(site(run()))["rows"][0]["warnings"] == []
    [warned] = provenance(site(run(made=replace(MADE, commit="b" * 40, dirty=True)), sha256="d" * 64))["rows"]
    text = "; ".join(warned["warnings"])
    for part in ("made by other code than this site", "uncommitted changes", "another calibration table"):
        assert part in text
    assert [one.entry.name for one in calibration(site(run(), sha256="d" * 64))["other_table"]] == ["audit_scaling"]


def test_methods_are_grouped_with_their_levels_and_families():
    found = methods(
        run(
            finding("a", level=0.95, details={"family": "rates"}),
            finding("b", level=0.9, details={"tests_in_family": 12}),
            finding("c", method="Simulated."),
        )
    )
    assert [(one["method"], one["levels"], one["families"], one["tests"], one["findings"]) for one in found] == [
        ("Counted.", [0.9, 0.95], ["rates"], [12], ["a", "b"]), ("Simulated.", [], [], [], ["c"]),
    ]  # fmt: skip


def test_headlines_follow_the_patterns_once_each_without_answers_to_claims():
    one = run(
        finding("law.x.records"), finding("law.x.exponent"), finding("law.x.rate", claim="c", verdict="supported"),
        finding("other"),
    )  # fmt: skip
    assert [found.id for found in one.headlines] == ["law.x.exponent", "law.x.records"]
    assert headline(one, 1)["more"] == 1
    assert [found.id for found in headline(one, 1)["findings"]] == ["law.x.exponent"]


@pytest.mark.parametrize(
    ("page", "place"),
    [
        ('<p id="rate">', "#rate"),
        ('<p id="law.x.rate"><p id="rate">', "#law.x.rate"),
        ("<p>", ""),
        (None, "#law.x.rate"),
    ],
)
def test_a_finding_is_linked_to_its_place_where_the_page_has_one(page, place):
    assert address(run(page=page), finding("law.x.rate")) == f"audit_scaling/report.html{place}"


def test_findings_of_other_audits_are_linked_by_the_beginning_of_their_ids():
    runs = {"audit_scaling": run(finding("law.x.rate"), finding("law.x.exponent"))}
    asked = finding("claims.c", details={"links": ["law.", "origins."]})
    assert see_also(asked, runs) == {"law (2)": "findings.html#law.x.rate"}
    assert see_also(finding("claims.d"), runs) == {}


def test_navigation_stands_once_before_the_body_and_marks_the_page_it_is_on():
    text = with_navigation("<body>\n<main>x</main>", "audit_scaling/report.html", {"audit_scaling": run()})
    assert text.count("<nav") == 1
    assert text.index("<nav") < text.index("<main>")
    assert '<strong aria-current="page">Law</strong>' in text
    assert 'href="../index.html"' in text
