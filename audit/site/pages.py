"""What each page of the site says, as rows and words for its template."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import pandas as pd

from audit.calibrate import code_sha256
from audit.finding import Finding, Verdict
from audit.report import render
from audit.site.candidates import GalleryEntry
from audit.site.folders import BODY, Run, SessionEntry
from audit.statistics.check import Check
from audit.wording import plural

VERDICTS: tuple[str, ...] = get_args(Verdict)
OWN_PAGES = {  # file -> what the navigation calls it
    "index.html": "Verdicts",
    "candidates.html": "Candidates",
    "findings.html": "Findings",
    "methods.html": "Methods",
    "calibration.html": "Calibration",
    "provenance.html": "Provenance",
}
SHOWN_PACKAGES = ("numpy", "pandas", "scipy", "statsmodels", "torch")


@dataclass(frozen=True, kw_only=True)
class Site:
    """All that the pages are made of.

    entries: every session, run or not. calibration: the stored table; checks: the methods that exist now.
    calibration_sha256: of the stored table's file; None where there is none.
    """

    entries: Sequence[SessionEntry]
    runs: Mapping[str, Run]
    candidates: Sequence[GalleryEntry]
    calibration: pd.DataFrame
    calibration_sha256: str | None
    checks: Sequence[Check]
    shown_headlines: int
    manifest: Mapping[str, Any]


def pages(site: Site) -> dict[str, str]:
    """The text of every page by its place in the site, navigation included."""
    contexts = {
        "index.html": index(site),
        "candidates.html": {"entries": site.candidates, "runs": site.runs},
        "findings.html": {"runs": site.runs},
        "methods.html": {"methods": {name: methods(run) for name, run in site.runs.items()}, "runs": site.runs},
        "calibration.html": calibration(site),
        "provenance.html": provenance(site),
    }
    texts = {
        file: render(f"site_{file}", title=OWN_PAGES[file], manifest=site.manifest, **context)
        for file, context in contexts.items()
    }
    for run in site.runs.values():
        audit = {"run": run, "title": run.entry.title, "manifest": run.manifest}
        texts[run.address] = render("site_audit.html", **audit) if run.page is None else run.page
    return {file: with_navigation(text, file, site.runs) for file, text in texts.items()}


def with_navigation(text: str, file: str, runs: Mapping[str, Run]) -> str:
    """A page with a bar of links to the other pages put in front of its body."""
    links = {"index.html": OWN_PAGES["index.html"]}
    links |= {run.address: run.entry.title for run in runs.values()}
    bar = render("_site_navigation.html", links=links | OWN_PAGES, current=file, up="../" * file.count("/"))
    return text.replace(BODY, BODY + bar, 1)


def index(site: Site) -> dict[str, Any]:
    """Answers to claims, counted and in order; what each audit measured; what was not run."""
    answers = [(run, finding) for run in site.runs.values() for finding in run.findings if finding.claim is not None]
    answers.sort(key=lambda answer: (str(answer[1].claim), answer[1].id))
    said: dict[str, set[str]] = {}
    for _, finding in answers:
        said.setdefault(str(finding.claim), set()).add(finding.verdict)
    counts = Counter(str(finding.verdict) for _, finding in answers)
    return {
        "verdicts": [verdict for verdict in VERDICTS if counts[verdict]],
        "counts": counts,
        "claims": len(said),
        "answers": [
            {
                "finding": finding,
                "run": run,
                "address": address(run, finding),
                "differ": len(said[str(finding.claim)]) > 1,
                "see_also": see_also(finding, site.runs),
            }
            for run, finding in answers
        ],
        "audits": [headline(run, site.shown_headlines) for run in site.runs.values()],
        "missing": [entry for entry in site.entries if entry.name not in site.runs],
    }


def address(run: Run, finding: Finding) -> str:
    """Where a finding stands in its audit's page: at its id, or at the last part of it, where the page has such."""
    places = [finding.id, finding.id.rsplit(".", 1)[-1]]
    marked = [place for place in places if run.page is None or f'id="{place}"' in run.page]
    return f"{run.address}#{marked[0]}" if marked else run.address


def see_also(finding: Finding, runs: Mapping[str, Run]) -> dict[str, str]:
    """Text -> link to findings of other audits that the registry says speak to this one, where there are any."""
    others = [other.id for run in runs.values() for other in run.findings if other.id != finding.id]
    found: dict[str, str] = {}
    for link in finding.details.get("links") or ():
        matching = [name for name in others if name.startswith(link)]
        if matching:
            found[f"{link.rstrip('.')} ({len(matching)})"] = f"findings.html#{matching[0]}"
    return found


def headline(run: Run, shown: int) -> dict[str, Any]:
    """What an audit measured, in its own sentences, the first `shown` of them."""
    verdicts = Counter(str(f.details["rerun_verdict"]) for f in run.findings if "rerun_verdict" in f.details)
    tally = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in sorted(verdicts.items()))
    return {
        "run": run,
        "tally": f"{plural(verdicts.total(), 'comparison')} of a candidate with a baseline: {tally}."
        if verdicts
        else "",
        "findings": run.headlines[:shown],
        "more": len(run.headlines[shown:]),
    }


def methods(run: Run) -> list[dict[str, Any]]:
    """A row a method: its words, the levels and families of its findings, and which these are."""
    groups: dict[str, list[Finding]] = {}
    for finding in run.findings:
        groups.setdefault(finding.method, []).append(finding)
    return [
        {
            "method": method,
            "levels": sorted({f.level for f in found if f.level is not None}),
            "families": sorted({str(f.details["family"]) for f in found if f.details.get("family")}),
            "tests": sorted({int(f.details["tests_in_family"]) for f in found if f.details.get("tests_in_family")}),
            "findings": [f.id for f in found],
        }
        for method, found in groups.items()
    ]


def calibration(site: Site) -> dict[str, Any]:
    """Each stored row, with whether it is stale, and the methods that have none."""
    code = {check.method: code_sha256(check) for check in site.checks}
    rows = []
    for row in site.calibration.to_dict("records"):
        missed = "failed" if row["role"] == "met" else "failed under stress"
        state = "passed" if row["passed"] else missed
        current = code.get(str(row["method"]))
        if current is None:
            state = "no longer in use"
        elif current != row["code_sha256"]:
            state = f"stale ({state})"
        rows.append({**row, "state": state})
    stored = set(site.calibration["method"])
    return {
        "rows": rows,
        "states": Counter(row["state"] for row in rows),
        "failed": [row for row in rows if not row["passed"] and row["role"] == "met"],
        "missing": [name for name in code if name not in stored],
        "other_table": [run for run in site.runs.values() if _other_calibration(run, site.calibration_sha256)],
    }


def provenance(site: Site) -> dict[str, Any]:
    """How each run was made, and what about it a reader should know."""
    return {
        "rows": [
            {
                "run": run,
                "made": run.provenance,
                "packages": {name: run.provenance.packages.get(name, "–") for name in SHOWN_PACKAGES},
                "warnings": _warnings(run, site),
            }
            for run in site.runs.values()
        ]
    }


def _warnings(run: Run, site: Site) -> list[str]:
    made, now = run.provenance, site.manifest["commit"]
    said = []
    if run.origin == "reference":
        said.append(f"kept results, not a run of yours; {run.entry.command} makes one")
    if made.commit is None:
        said.append("made by code at an unknown commit")
    elif made.commit != now:
        said.append(f"made by other code than this site, which is at commit {now or 'unknown'}")
    if made.dirty:
        said.append("made with uncommitted changes")
    if not made.decision_plan.as_registered:
        said.append("its decision plan is not the registered one")
    if _other_calibration(run, site.calibration_sha256):
        said.append("made with another calibration table than the one shown here")
    return said


def _other_calibration(run: Run, stored: str | None) -> bool:
    used = [item.sha256 for item in run.provenance.inputs if item.what == "calibration"]
    return bool(used) and used != [stored]
