"""The site holds every session's latest run, says what is missing, and refuses what it cannot trust."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from audit.finding import Finding, canonical_json, findings_document
from audit.manifest import manifest
from audit.report import publish, render
from audit.site.candidates import gallery
from audit.site.folders import SessionEntry, read_run, read_runs
from audit.site.pages import OWN_PAGES
from audit.site.session import run_report
from replication.discovered import Discovered, candidate_files
from replication.settings import InputError

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = "</pre></details><script>alert(1)</script> \"quoted\" 'name' &amp; {{ 7 * 7 }} \u202e"
SOURCE = f"class Mixer:\n\tnote = '''{HOSTILE}'''\n"
SHA = hashlib.sha256(SOURCE.encode()).hexdigest()
ARCHIVE = "id,name,parent,honest_loss,leaky\n0,delta_net,,2.5,false\n3,middle,0,2.4,false\n7,best,3,2.3,true\n"


def finding(name: str, **fields) -> Finding:
    given = {"question": "Is it so?", "answer": f"{name} was measured.", "verdict": "measured", "method": "Counted."}
    return Finding(id=name, **(given | fields))


def answer(claim: str, name: str, verdict: str, **fields) -> Finding:
    return finding(name, claim=f"asi_arch.{claim}", verdict=verdict, **fields)


def comparison(scale: str, baseline: str, verdict: str, candidate: str = SHA) -> Finding:
    details = {"kind": "comparison", "candidate": candidate, "candidate_label": HOSTILE, "baseline_label": baseline}
    details |= {"scale": scale, "rerun_verdict": verdict}
    return finding(f"replicate.{scale}.best.vs_{baseline}", estimate=-0.1, interval=(-0.2, 0.0), details=details)


def certificate(standing: str) -> Finding:
    return finding("leakage.replicate.best", details={"kind": "certificate", "candidate": SHA, "standing": standing})


@functools.cache
def made_manifest() -> dict:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return manifest(
        config={"hostile": HOSTILE}, plan={}, registered_plan="0" * 64, command=["x", HOSTILE], seeds=[0, 1],
        inputs={}, project=ROOT, started=now, finished=now,
    )  # fmt: skip


def write_session(results: Path, name: str, findings, files=None, run: str = "one") -> Path:
    """A session's run, written as sessions write theirs."""
    made = made_manifest()
    page = render("base.html", manifest=made).replace("<main>", '<main><p id="c01"></p>')
    texts = {"findings.json": canonical_json(findings_document(name, findings)), "manifest.json": canonical_json(made)}
    publish(results / name / run, {**texts, "report.html": page, **(files or {})})
    return results / name / run


def search_files(fitness: float = 0.9) -> dict[str, str]:
    losses = {"delta_net": 2.5}
    one = Discovered(
        name="best", label=HOSTILE, number=7, fitness=fitness, loss=2.3, baseline_losses=losses, source=SOURCE
    )
    return candidate_files("s1", "cpu-search", "nats per token", [one]) | {"archive/experiments.csv": ARCHIVE}


def entry(name: str, **fields) -> SessionEntry:
    given = {"title": name, "question": "?", "command": f"nox -s {name}", "reference": None, "headlines": ("*",)}
    return SessionEntry(name=name, **(given | fields))


class Page(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    claims = [
        answer("c02", "claims.asi_arch.c02", "inconclusive", details={"links": ["law."]}),
        answer("c01", "claims.asi_arch.c01", "supported", answer=HOSTILE, tables=["tables/c01.csv", "tables/none.csv"]),
        finding("claims.asi_arch.consistency"),
    ]
    write_session(folder, "verify_claims", claims, {"tables/c01.csv": "a\n1\n"})
    law = [answer("c02", "law.asi_arch.rate", "contradicted"), finding("law.asi_arch.exponent", answer="Exponent 1.1.")]
    write_session(folder, "audit_scaling", law)
    write_session(folder, "discover", [finding("search.s1.best_gain")], search_files())
    rerun = [comparison("small", "a", "worse"), comparison("small", "b", "better"), certificate("clean")]
    write_session(folder, "replicate", rerun)
    return folder


@pytest.fixture(scope="module")
def site(results) -> Path:
    run_report([f"paths.results={results}"])
    return results / "report" / "latest"


def pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def test_every_session_that_was_run_has_a_page_and_every_page_a_way_to_all_others(site):
    found = pages(site)
    audits = {f"{name}/report.html" for name in ("verify_claims", "audit_scaling", "discover", "replicate")}
    assert set(found) == set(OWN_PAGES) | audits
    for name, page in found.items():
        reached = {(site / name).parent.joinpath(link.split("#")[0]).resolve() for link in page.links if link[0] != "#"}
        assert {site.resolve() / other for other in found if other != name} <= reached, name


def test_every_link_leads_to_a_place_in_the_site(site):
    found = pages(site)
    for name, page in found.items():
        for link in page.links:
            address, _, place = link.partition("#")
            assert ":" not in address, f"{name}: {link}"
            target = ((site / name).parent / address if address else site / name).resolve()
            assert target.is_file(), f"{name}: {link}"
            if place:
                assert place in found[target.relative_to(site.resolve()).as_posix()].ids, f"{name}: {link}"


def test_no_page_runs_or_fetches_anything_and_no_id_stands_twice(site):
    for name, page in pages(site).items():
        assert not {"script", "link", "iframe", "img", "object"} & set(page.tags), name
        assert len(page.ids) == len(set(page.ids)), name
        assert "default-src 'none'" in (site / name).read_text(), name


def test_texts_of_strangers_stay_text(site):
    shown = HOSTILE.replace("\u202e", "\ufffd")
    found = pages(site)
    assert HOSTILE in found["index.html"].text
    assert shown in found["candidates.html"].text, "in the code, characters that turn text round are replaced"
    assert "{{ 7 * 7 }}" in found["provenance.html"].text


def test_answers_are_counted_by_verdict_and_sorted_by_claim(site):
    text = " ".join(pages(site)["index.html"].text.split())
    assert "3 answers to 2 published claims" in text
    assert "1 supported, 1 contradicted, 1 inconclusive." in text
    rows = re.findall(r'<tr class="is-(\w+)"><th class="keep">([\w.]+)', (site / "index.html").read_text())
    assert rows == [
        ("supported", "asi_arch.c01"), ("inconclusive", "asi_arch.c02"), ("contradicted", "asi_arch.c02"),
    ]  # fmt: skip


def test_claims_that_two_audits_answer_differently_are_flagged_and_others_are_not(site):
    page = (site / "index.html").read_text()
    assert page.count("answers differ") == 2
    assert "answers differ" not in page.split("asi_arch.c02</th>")[0]


def test_an_answer_links_to_its_place_in_its_audit_and_to_findings_of_others(site):
    links = pages(site)["index.html"].links
    assert "verify_claims/report.html#c01" in links
    assert "audit_scaling/report.html" in links, "a page without a place for the finding is linked as a whole"
    assert "findings.html#law.asi_arch.rate" in links


def test_measured_headlines_stand_apart_from_claims(site):
    text = pages(site)["index.html"].text
    assert "Exponent 1.1." in text.split("What each audit measured")[1]
    assert "2 comparisons of a candidate with a baseline: 1 better, 1 worse." in text


def test_what_was_not_run_is_listed_with_its_command(site):
    text = pages(site)["index.html"].text.split("What was not run")[1]
    assert "nox -s audit_origins" in text
    assert "nox -s audit_threshold" in text
    assert "nox -s audit_scaling" not in text


def test_the_merged_findings_are_valid_and_refer_to_files_that_are_there(site, results):
    document = json.loads((site / "findings.json").read_text())
    assert document["audit"] == "report"
    assert len(document["findings"]) == 9
    named = [name for one in document["findings"] for name in (*one["tables"], *one["figures"])]
    assert named == ["verify_claims/tables/c01.csv"]
    assert (site / named[0]).read_text() == "a\n1\n"


def test_the_same_runs_give_the_same_findings_and_pages(site, results):
    before = {name: (site / name).read_bytes() for name in ("findings.json", "candidates.html", "calibration.html")}
    run_report([f"paths.results={results}"])
    assert all((results / "report" / "latest" / name).read_bytes() == data for name, data in before.items())


def test_a_plan_that_is_not_the_registered_one_and_other_code_are_said(site):
    text = pages(site)["methods.html"].text
    assert "not the registered one" in " ".join(text.split())
    assert "its decision plan is not the registered one" in pages(site)["provenance.html"].text


def test_without_runs_of_ones_own_the_reference_stands_in_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    run_report([f"paths.results={tmp_path}"])
    site = tmp_path / "report" / "latest"
    assert "discover: reference, 7 findings" in capsys.readouterr().out
    found = pages(site)
    assert "Reference results, kept with the project" in found["replicate/report.html"].text
    assert "kept results, not a run of yours" in found["provenance.html"].text
    assert "No audit that was run answers a published claim." in found["index.html"].text
    assert "delta_rule_short_conv_9dec" in found["candidates.html"].text
    assert "→" in found["candidates.html"].text
    listed = json.loads((ROOT / "results" / "reference" / "search" / "candidates.json").read_text())["candidates"]
    assert found["candidates.html"].tags.count("pre") == len(listed)


def test_a_run_of_ones_own_goes_before_the_reference(tmp_path):
    reference = write_session(tmp_path, "elsewhere", [finding("search.kept.best_gain")])
    here = entry("discover", reference=str(reference))
    (reference / "findings.json").write_text(canonical_json(findings_document("discover", [finding("search.kept.x")])))
    kept = read_run(here, tmp_path)
    assert kept is not None
    assert (kept.origin, [one.id for one in kept.findings]) == ("reference", ["search.kept.x"])
    write_session(tmp_path, "discover", [finding("search.own.x")])
    own = read_run(here, tmp_path)
    assert own is not None
    assert (own.origin, [one.id for one in own.findings]) == ("own", ["search.own.x"])


def test_nothing_at_all_to_show_is_said_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no reference is
    with pytest.raises(InputError, match="no session has been run yet; begin with nox -s verify_claims"):
        run_report(["paths.results=results"])
    assert not (tmp_path / "results").exists()


def cut(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("findings.json", cut, "not JSON"),
        ("findings.json", lambda text: text.replace('"measured"', '"proven"'), "not a file of findings .*verdict"),
        ("findings.json", lambda text: text.replace('"estimate": 1.5', '"estimate": NaN'), "NaN is no number"),
        ("findings.json", lambda text: text.replace('"discover"', '"replicate"'), "findings of 'replicate'"),
        ("findings.json", lambda text: "[]", "not a file of findings"),
        ("manifest.json", cut, "not JSON"),
        ("manifest.json", lambda text: "[]", "not a manifest"),
        ("manifest.json", lambda text: text.replace('"as_registered"', '"as_wished"'), "as_wished"),
        ("report.html", cut, "not a page of this project"),
        ("report.html", None, "cannot be read"),
        ("manifest.json", None, "cannot be read"),
    ],
)
def test_a_broken_file_is_named_in_one_line(tmp_path, file, change, message):
    folder = write_session(tmp_path, "discover", [finding("search.s1.best_gain", estimate=1.5)])
    if change is None:
        (folder / file).unlink()
    else:
        before = (folder / file).read_text()
        (folder / file).write_text(change(before)[: 200 if file == "report.html" else None])
        assert (folder / file).read_text() != before
    with pytest.raises(InputError, match=message) as raised:
        read_runs([entry("discover")], tmp_path)
    assert str(raised.value).count("\n") == 0
    assert str(folder / file) in str(raised.value)


def test_a_latest_that_points_at_nothing_is_an_error(tmp_path):
    (tmp_path / "discover").mkdir()
    (tmp_path / "discover" / "latest").symlink_to("gone")
    with pytest.raises(InputError, match="discover/latest: points at no folder; run nox -s discover"):
        read_runs([entry("discover")], tmp_path)


def test_an_id_in_two_audits_names_both_files(tmp_path):
    first, second = (write_session(tmp_path, name, [finding("search.twice")]) for name in ("discover", "replicate"))
    with pytest.raises(InputError) as raised:
        read_runs([entry("discover"), entry("replicate")], tmp_path)
    assert str(first / "findings.json") in str(raised.value)
    assert str(second / "findings.json") in str(raised.value)


def test_settings_that_make_no_sense_are_named(results):
    with pytest.raises(InputError, match="shown_headlines"):
        run_report([f"paths.results={results}", "shown_headlines=0"])
    with pytest.raises(InputError, match="listed twice"):
        read_runs([entry("discover"), entry("discover")], results)
    with pytest.raises(InputError, match="no name of a session"):
        read_runs([entry("../discover")], results)


def discovered(results: Path):
    return read_run(entry("discover"), results)


def test_a_candidate_has_its_lineage_score_certificate_and_rerun(results):
    [one] = gallery(discovered(results), read_run(entry("replicate"), results))
    assert [(step.number, step.name, step.loss) for step in one.lineage] == [
        (0, "delta_net", 2.5), (3, "middle", 2.4), (7, "best", 2.3),
    ]  # fmt: skip
    assert one.score is not None
    assert one.score.gains == {"delta_net": pytest.approx(0.2)}
    assert one.score.standing == "leaky"
    assert one.outcomes == {"small": "1 better, 1 worse"}
    assert one.certificate is not None
    assert one.certificate.details["standing"] == "clean"


def test_a_program_that_was_not_rerun_says_so_and_one_that_was_only_rerun_is_shown_too(tmp_path):
    write_session(tmp_path, "discover", [], search_files())
    write_session(tmp_path, "replicate", [comparison("small", "a", "worse", candidate="f" * 64)])
    first, second = gallery(discovered(tmp_path), read_run(entry("replicate"), tmp_path))
    assert (first.comparisons, first.certificate) == ((), None)
    assert (second.sha256, second.source, second.score, second.lineage) == ("f" * 64, None, None, ())


def test_a_family_tree_that_runs_in_a_circle_ends(tmp_path):
    circle = ARCHIVE.replace("0,delta_net,,", "0,delta_net,7,")
    write_session(tmp_path, "discover", [], {**search_files(), "archive/experiments.csv": circle})
    [one] = gallery(discovered(tmp_path), None)
    assert [step.number for step in one.lineage] == [0, 3, 7]


def test_a_program_that_was_changed_since_the_search_is_refused(tmp_path):
    files = search_files()
    program = next(name for name in files if name.endswith(".py"))
    write_session(tmp_path, "discover", [], {**files, program: "other"})
    with pytest.raises(InputError, match="changed since the search"):
        gallery(discovered(tmp_path), None)


def test_a_program_whose_file_was_not_kept_comes_from_the_archive_if_it_is_the_listed_one(tmp_path):
    files = {name: text for name, text in search_files().items() if not name.endswith(".py")}
    archive = {"number": 7, "source": SOURCE, "name": "best"}
    folder = write_session(tmp_path, "discover", [], {**files, "archive/programs.jsonl": json.dumps(archive)})
    [one] = gallery(discovered(tmp_path), None)
    assert one.source is not None
    assert "class Mixer" in one.source
    (folder / "archive" / "programs.jsonl").write_text(json.dumps(archive | {"source": "other"}))
    with pytest.raises(InputError, match="changed since the search"):
        gallery(discovered(tmp_path), None)
    (folder / "archive" / "programs.jsonl").write_text("{}")
    with pytest.raises(InputError, match=r"programs\.jsonl: not an archive of programs"):
        gallery(discovered(tmp_path), None)


DAMAGED = "id,name,parent,honest_loss,leaky\n,a,,1,true\n1,b,inf,1,true\n"


@pytest.mark.parametrize("table", ["id,name\n1,a\n", "id,name,parent,honest_loss,leaky\nx,a,,1,true\n", DAMAGED, ""])
def test_a_damaged_archive_is_named(tmp_path, table):
    write_session(tmp_path, "discover", [], {**search_files(), "archive/experiments.csv": table})
    with pytest.raises(InputError, match=r"experiments\.csv: not a table of experiments"):
        gallery(discovered(tmp_path), None)


def test_a_comparison_without_its_candidate_is_named(tmp_path):
    broken = comparison("small", "a", "worse")
    write_session(tmp_path, "replicate", [replace(broken, details={"kind": "comparison"})])
    with pytest.raises(
        InputError, match=r"findings\.json: replicate\.small\.best\.vs_a: its details hold no candidate"
    ):
        gallery(None, read_run(entry("replicate"), tmp_path))
