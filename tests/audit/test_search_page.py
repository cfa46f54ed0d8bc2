"""The report of a search: one page that shows strangers' text as text, and figures for searches of any kind."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from matplotlib.collections import QuadMesh

from audit.figures import svg
from audit.manifest import manifest
from audit.report import write_report
from audit.search import page as search_page
from audit.search.audit import SearchAuditSettings, audit
from tests.audit import searches as made

ROOT = Path(__file__).resolve().parents[2]
CFG = SearchAuditSettings(level=0.95, shown=10, registered_plan="")
HOSTILE = "<script>alert(1)</script> $x^2$ \"quoted\" 'name' &amp; --> {{ 7 * 7 }}\x1b[2J"
ABOUT = search_page.About(
    byline="a test", ran={"Proposer": HOSTILE}, confinement=HOSTILE, offline=True, candidates=3, calibration={}
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def report(folder, evidence, about=ABOUT):
    findings = audit(evidence, CFG, about.withheld)
    plan = manifest(
        config={}, plan=CFG.plan, registered_plan="", command=["x"], seeds=[0], inputs={}, project=ROOT,
        started=NOW, finished=NOW,
    )  # fmt: skip
    return write_report(
        folder,
        audit="discover",
        findings=findings,
        tables=search_page.tables(evidence, about),
        figures=search_page.draw(evidence),
        manifest=plan,
        context=search_page.page(evidence, findings, about, CFG),
        files={"candidates.json": "{}\n", "candidates/0001_a.py": "x = 1\n"},
    )


def hostile(experiment):
    part = dataclasses.replace(experiment.components[0], component=HOSTILE) if experiment.components else None
    return dataclasses.replace(
        experiment,
        name=HOSTILE,
        reason=HOSTILE,
        attempts=tuple(dataclasses.replace(a, name=HOSTILE, reason=HOSTILE) for a in experiment.attempts),
        components=(part,) if part else (),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The page of a search whose every text is hostile."""
    evidence = made.search([hostile(experiment) for experiment in made.proposals(24)])
    return report(tmp_path_factory.mktemp("search") / "run", evidence)


def test_a_report_holds_findings_tables_figures_and_the_programs(whole):
    names = {str(path.relative_to(whole.parent)) for path in whole.parent.rglob("*") if path.is_file()}
    assert {"findings.json", "manifest.json", "candidates.json", "candidates/0001_a.py"} <= names
    assert {f"figures/{name}.svg" for name in ("tree", "trend", "sizes", "outcomes", "discoveries")} <= names
    assert {f"tables/{name}.csv" for name in ("experiments", "attempts", "rules", "baselines")} <= names
    ids = [entry["id"] for entry in json.loads((whole.parent / "findings.json").read_text())["findings"]]
    assert ids[:3] == ["search.run_1.best_gain", "search.run_1.discoveries", "search.run_1.failures"]


def test_the_page_shows_strangers_text_as_text(whole):
    text = whole.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in text
    assert "<script" not in text
    assert "\x1b" not in text
    assert "{{ 7 * 7 }}" in text


def test_the_summary_says_first_that_nothing_is_established_and_what_to_do(whole):
    text = whole.read_text(encoding="utf-8")
    first = re.search(r'<section class="summary">\s*<p><strong>(.*?)</strong>', text, re.DOTALL)
    assert first is not None
    assert first[1].startswith("Nothing is established by this search, because each program was run once.")
    assert "candidates=discovered top=3" in text
    assert "says nothing of language models" in re.sub(r"\s+", " ", text)


def test_a_language_models_search_is_not_said_to_be_the_built_in_proposers(tmp_path):
    about = dataclasses.replace(ABOUT, offline=False, candidates=0)
    text = report(tmp_path / "run", made.search([made.experiment(0)]), about).read_text(encoding="utf-8")
    assert "built-in" not in text
    assert "candidates=discovered" not in text


def test_the_table_lists_the_fittest_first_and_no_more_than_asked():
    evidence = made.search(made.proposals(60))
    page = search_page.page(evidence, audit(evidence, CFG, frozenset()), ABOUT, CFG)["page"]
    fitness = [row["fitness"] for row in page["best"]]
    assert len(fitness) == 10
    assert fitness == sorted(fitness, reverse=True)
    assert all(row["outcome"] == "kept" for row in page["best"])


@pytest.mark.parametrize(
    ("experiments", "missing"),
    [
        ([], {"tree", "outcomes", "trend", "sizes", "discoveries"}),
        ([made.experiment(0)], {"discoveries"}),
        ([made.experiment(0, status="crashed")], {"trend", "sizes", "discoveries"}),
        ([made.experiment(0), made.experiment(1, parameters=None, flops=None)], set()),
        ([made.experiment(0), made.experiment(1, fitness={}, mark=None, benchmarks={})], {"discoveries"}),
    ],
    ids=["none", "one", "failed", "no_sizes", "unmarked"],
)
def test_a_search_with_little_to_show_still_has_its_page(experiments, missing, tmp_path):
    evidence = made.search(experiments, baselines=tuple(made.baseline_runs(1)))
    assert {"tree", "outcomes", "trend", "sizes", "discoveries"} - set(search_page.draw(evidence)) == missing
    assert report(tmp_path / "run", evidence).is_file()


def test_figures_are_the_same_on_every_call_and_hold_no_bitmap():
    evidence = made.search(made.proposals(15))
    first, again = ({name: svg(figure) for name, figure in search_page.draw(evidence).items()} for _ in range(2))
    assert first == again
    assert not [name for name, drawing in first.items() if "<image" in drawing]  # the page's policy shows none


def test_the_tree_marks_failures_apart_and_names_the_fittest():
    evidence = made.search(
        [*made.proposals(30), made.experiment(30, parent=3, fitness={"strict": 2.0}, name="the one")]
    )
    figure = search_page.draw(evidence)["tree"]
    assert "30 the one, fitness 2.000" in svg(figure)
    assert [text.get_text() for text in figure.legends[0].get_texts()][-2:] == ["no score", "descent of the fittest"]
    assert any(isinstance(drawn, QuadMesh) for axes in figure.axes for drawn in axes.collections)


def test_a_far_off_loss_does_not_squash_the_others():
    done = [made.experiment(n, honest_loss=2.4 - 0.001 * n) for n in range(30)]
    far = made.experiment(30, honest_loss=9.0)
    axes = search_page.draw(made.search([*done, far]))["trend"].axes[2]
    assert axes.get_ylim()[1] < 2.6
    assert "kept run, above the axis" in [text.get_text() for text in axes.get_legend().get_texts()]
