"""From a search as it stands to its evidence, its programs as files, and what is said of how it ran."""

from __future__ import annotations

import hashlib
import json

import pytest

from audit.search import session
from audit.search.evidence import experiment_table
from loop.discover import Found, configure
from loop.engineer import Reference
from tests.audit import searches as made

MEANS = {"name": "delta_net", "loss": 2.4, "honest_loss": 2.4, "benchmarks": dict.fromkeys(made.TASKS, 0.5)}


def found(experiments, **changes):
    reference = Reference(
        name=MEANS["name"], baselines=(MEANS,), seconds={"text": 1.0}, final_loss=2.4, tasks=made.TASKS
    )
    values = {"name": "run_1", "archive": None, "experiments": experiments, "reference": reference,
              "runs": made.baseline_runs(), "confinement": {}, "stopped": ""}  # fmt: skip
    return Found(**(values | changes))


@pytest.mark.parametrize(
    ("overrides", "rules"),
    [
        ((), ("certificate",)),
        (("discard=below_10",), ("below_10",)),
        (("discard=off", "select_by=released_code"), ("released_code",)),
    ],
)
def test_the_rules_in_force_are_those_of_the_settings(overrides, rules):
    evidence = session.read_search(found([made.experiment(0)]), configure(overrides).settings)
    assert evidence.in_force == rules


def test_the_terms_of_the_fitness_add_up_to_the_fitness_of_the_search():
    evidence = session.read_search(found(made.proposals(40)), configure(()).settings)
    table = experiment_table(evidence).query("outcome == 'kept'")
    terms = table[["loss_term", "benchmark_term", "judge_term"]].mean(axis=1)
    assert terms.tolist() == pytest.approx(table["fitness"].tolist())


def test_programs_are_written_fittest_first_with_what_the_search_measured():
    evidence = session.read_search(found(made.proposals(60)), configure(("pool.size=10", "pool.parents=5")).settings)
    files = session.discovered(evidence, "cpu-search")
    document = json.loads(files["candidates.json"])
    fitness = [entry["fitness"] for entry in document["candidates"]]
    assert len(fitness) == 10
    assert fitness == sorted(fitness, reverse=True)
    for entry in document["candidates"]:
        assert hashlib.sha256(files[entry["file"]].encode()).hexdigest() == entry["source_sha256"]
        assert entry["baseline_losses"] == pytest.approx({"delta_net": 2.40, "gated_delta_net": 2.38})
        assert entry["number"] != 0


def test_a_search_that_kept_nothing_still_has_a_list_of_programs():
    evidence = session.read_search(found([made.experiment(0)]), configure(()).settings)
    assert json.loads(session.discovered(evidence, "cpu-search")["candidates.json"])["candidates"] == []


def test_a_databases_password_is_not_reported(monkeypatch):
    address = "postgresql://worker:hunter2@host/archive"
    monkeypatch.setattr("sys.argv", ["audit", "discover", f"archive={address}"])
    configuration = configure((f"archive='{address}'",))
    ran = session._ran(found([made.experiment(0)]), configuration)
    cfg = session.SearchAuditSettings(level=0.95, shown=10, registered_plan="")
    written = session._manifest(configuration, cfg, session.datetime.now(session.UTC))
    assert ran["Archive"] == "postgresql://worker:***@host/archive"
    assert "hunter2" not in json.dumps(written, default=str)
