"""The whole session on a synthetic paper: every claim answered, every number traced, bad input said in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from audit.claims.audit import answer_claims
from audit.claims.outcome import ClaimEvidence
from audit.claims.page import verdict_counts
from audit.claims.registry import read_registry
from audit.claims.session import run_verify_claims
from audit.finding import Finding
from audit.manifest import plan_sha256
from audit.sheets import SheetTable
from replication.configure import compose
from replication.settings import InputError
from tests.audit.synthetic_paper import synthetic_paper, write_paper

CONF = Path(__file__).parents[2] / "conf"
LOG = "commit\tval_bpb\tstatus\tdescription\n" + "".join(
    f"c{i}\t{value}\t{status}\tchange {i}\n"
    for i, (value, status) in enumerate(
        [(1.30, "keep"), (1.31, "discard"), (1.25, "keep"), (1.29, "discard"), (0.0, "crash"), (1.2499, "keep")]
    )
)


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_paper(synthetic_paper(3), folder)
    return folder


def overrides(folder: Path, results: Path, *more: str) -> list[str]:
    free = ["published.gallery.sha256=null", "published.tree.sha256=null", "claims.resamples=500"]
    return [f"published.root={folder}", f"paths.results={results}", *free, *more]


def registry():
    return yaml.safe_load((CONF / "claims" / "asi_arch.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report(paper, tmp_path_factory) -> Path:
    results, log = tmp_path_factory.mktemp("results"), tmp_path_factory.mktemp("logs") / "results.tsv"
    log.write_text(LOG)
    run_verify_claims(overrides(paper, results, f"logs=[{log}]"))
    return results / "verify_claims" / "latest"


@pytest.fixture(scope="module")
def findings(report) -> list[dict]:
    return json.loads((report / "findings.json").read_text())["findings"]


def test_every_claim_of_the_registry_has_one_verdict(findings):
    answered = [finding for finding in findings if finding.get("claim")]
    assert [finding["claim"] for finding in answered] == [f"asi_arch.c{i:02d}" for i in range(1, 74)]
    assert {finding["verdict"] for finding in answered} <= {"supported", "contradicted", "inconclusive", "not_testable"}


def test_what_is_no_claim_is_measured(findings):
    others = [finding for finding in findings if not finding.get("claim")]
    assert others
    assert {finding["verdict"] for finding in others} == {"measured"}


def test_the_registered_claims_are_those_of_the_published_list(published_root):
    listed = json.loads((published_root / "claims.json").read_text())
    assert sorted(claim["id"] for claim in listed) == sorted(
        f"asi_arch.{claim['id']}" for claim in registry()["claims"]
    )


def test_statements_are_in_our_own_words(published_root):
    theirs = {
        claim["paraphrase"].lower().rstrip(".") for claim in json.loads((published_root / "claims.json").read_text())
    }
    assert not theirs & {claim["statement"].lower().rstrip(".") for claim in registry()["claims"]}


def test_every_number_leads_to_a_table_that_is_there(report, findings):
    page = (report / "report.html").read_text()
    for finding in findings:
        for table in finding["tables"]:
            assert (report / table).exists(), finding["id"]
        if finding.get("claim") and finding["tables"]:
            assert f'href="{finding["tables"][0]}"' in page


def test_rows_behind_a_claim_name_their_file_and_row(report, findings):
    located = 0
    for finding in findings:
        if finding.get("claim") and finding["tables"]:
            table = pd.read_csv(report / finding["tables"][0])
            located += {"file", "row"} <= set(table.columns)
    assert located >= 30


def test_a_sound_paper_has_no_inconsistency_in_its_files(report):
    checks = pd.read_csv(report / "tables" / "consistency_checks.csv")
    assert checks["compared"].gt(0).all()
    assert checks["inconsistencies"].sum() == 0


def test_the_log_is_judged_beside_the_claims(report, findings):
    assert [f for f in findings if f["id"].startswith("single_seed.")]
    assert any(path.name.endswith("_left_out.csv") for path in (report / "tables").iterdir())


def test_the_same_data_give_the_same_findings(paper, report, tmp_path):
    log = tmp_path / "results.tsv"
    log.write_text(LOG)
    run_verify_claims(overrides(paper, tmp_path, f"logs=[{log}]"))
    assert (tmp_path / "verify_claims/latest/findings.json").read_text() == (report / "findings.json").read_text()


def test_without_a_table_its_claims_are_not_testable_and_the_others_are_answered(paper, tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    for path in paper.iterdir():
        if path.name not in ("table1.csv", "tree.json"):
            (folder / path.name).write_bytes(path.read_bytes())
    run_verify_claims(overrides(folder, tmp_path, "logs=[]"))
    found = json.loads((tmp_path / "verify_claims/latest/findings.json").read_text())["findings"]
    verdicts = {finding["claim"]: finding for finding in found if finding.get("claim")}
    assert verdicts["asi_arch.c43"]["verdict"] == "not_testable"
    assert "table1" in verdicts["asi_arch.c43"]["answer"]
    assert "tree" in verdicts["asi_arch.c01"]["answer"]
    assert verdicts["asi_arch.c46"]["verdict"] != "not_testable"


def test_a_log_is_judged_without_any_paper(tmp_path, capsys):
    log = tmp_path / "results.tsv"
    log.write_text(LOG)
    run_verify_claims(["claims=none", f"logs=[{log}]", f"paths.results={tmp_path}", "audit.noise_sd=0.001"])
    found = json.loads((tmp_path / "verify_claims/latest/findings.json").read_text())["findings"]
    assert all(finding["id"].startswith("single_seed.") for finding in found)
    assert "1 real" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["published.root=/nowhere", "logs=[]"], "none of the published files is there"),
        (["claims=none", "logs=[]"], "nothing to judge"),
        (["claims=none", "logs=[/nowhere/results.tsv]"], "/nowhere/results.tsv"),
        (["claims=none", "logs=[a/results.tsv,b/Results.tsv]"], "2 files are named 'results'"),
        (["claims=nobody"], "claims/nobody"),
        (["claims.level=95", "logs=[]"], "claims.level"),
        (["claims.colour=red"], "colour"),
    ],
)
def test_bad_input_is_said_in_one_line_and_nothing_is_written(arguments, message, tmp_path):
    with pytest.raises(InputError, match=message) as error:
        run_verify_claims([*arguments, f"paths.results={tmp_path / 'results'}"])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "results").exists()


def broken(**changes):
    mapping = registry()
    mapping["claims"] = [mapping["claims"][0] | changes]
    return mapping


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"check": "astrology"}, r"claims.claims\[0\].check: 'astrology' is no check"),
        ({"parameters": {}}, r"claims.claims\[0\].parameters"),
        ({"rule": None}, r"claims.claims\[0\].rule"),
        ({"mood": "good"}, "mood"),
    ],
)
def test_a_registry_entry_that_is_wrong_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        read_registry(broken(**changes), "claims")


def test_two_claims_of_one_id_are_refused():
    mapping = registry()
    mapping["claims"] = mapping["claims"][:1] * 2
    with pytest.raises(InputError, match="two entries have the id"):
        read_registry(mapping, "claims")


def test_a_registry_of_another_paper_needs_no_new_code():
    mapping = compose("verify_claims", ["claims=none"])["claims"] | {
        "slug": "other",
        "claims": [entry for entry in registry()["claims"] if entry["check"] == "not_testable"][:1],
    }
    outcomes = answer_claims(
        ClaimEvidence(sheets=SheetTable(), items={}), read_registry(mapping, "claims"), frozenset()
    )
    assert [outcome.verdict for outcome in outcomes.values()] == ["not_testable"]


def test_verdicts_are_counted_over_claims_alone():
    measured = Finding(id="x.y", question="?", answer="!", verdict="measured", method="m")
    claim = Finding(id="x.z", claim="x.z", question="?", answer="!", verdict="supported", method="m")
    assert verdict_counts([measured, claim]) == {
        "supported": 1, "contradicted": 0, "inconclusive": 0, "not_testable": 0,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["asi_arch", "none"])
def test_the_registry_on_disk_is_the_registered_plan(name):
    found = read_registry(compose("verify_claims", [f"claims={name}"])["claims"], "claims")
    assert plan_sha256(found.plan) == found.registered_plan
