"""The children of a bench: who is timed when, and what becomes of the work of one that fails."""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path

import pytest

from replication.bench import jobs
from replication.bench.jobs import Job, run_jobs

ROOT = Path(__file__).parents[2]
# A child that does as its job says, form by form: "ok", "raise", "hang", "babble", "large" (unless the batch is 1).
CHILD = """
import json, os, sys, time
out = os.fdopen(int(sys.argv[1]), "w")
job = json.loads(sys.stdin.readline())
def tell(**message):
    out.write(json.dumps(message) + "\\n")
    out.flush()
with open(job["diary"], "a") as diary:
    for group in job["groups"]:
        for form in group:
            if form.startswith("raise"):
                raise RuntimeError("broke in " + form)
            if form.startswith("hang"):
                time.sleep(60)
            if form.startswith("babble"):
                out.write("no json\\n")
                out.flush()
                time.sleep(60)
            if form.startswith("large") and job["batch"] > 1:
                tell(too_large=True)
                time.sleep(60)
        tell(ready=True)
        sys.stdin.readline()
        began = time.monotonic()
        time.sleep(0.1)
        diary.write(json.dumps([began, time.monotonic(), os.getpid()]) + "\\n")
        diary.flush()
        tell(rows=[{"form": form, "status": "ok", "batch": job.get("batch")} for form in group if form != "mute"])
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """function(jobs as {key: groups}, **limits) -> {key: rows}."""
    (tmp_path / "bench_child_of_a_test.py").write_text(CHILD)
    monkeypatch.setattr(jobs, "CHILD", "bench_child_of_a_test")
    monkeypatch.setattr(jobs, "TICK", 0.02)

    def call(plan, *, processes=2, seconds=20.0, minutes=1.0, **fields):
        found: dict[str, list] = {}
        diary = str(tmp_path / "diary")
        todo = [
            Job(key=key, header={"diary": diary, "batch": 4}, groups=groups, seconds=seconds, **fields)
            for key, groups in plan.items()
        ]
        run_jobs(
            todo,
            processes=processes,
            threads=1,
            environment={"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
            deadline=time.monotonic() + 60 * minutes,
            done=lambda job: found.update({job.key: job.rows}),
        )
        return found

    return call


def statuses(rows):
    return {row["form"]: row["status"] for row in rows}


def test_every_group_of_every_job_has_its_rows(run):
    found = run({"first": [["a"], ["b", "c"]], "second": [["d"]], "third": [["e"]]})
    assert {key: list(statuses(rows)) for key, rows in found.items()} == {
        "first": ["a", "b", "c"],
        "second": ["d"],
        "third": ["e"],
    }


def test_no_two_children_are_timed_at_once(run, tmp_path):
    run({name: [["a"], ["b"]] for name in "xyz"}, processes=3)
    times = sorted(json.loads(line) for line in (tmp_path / "diary").read_text().splitlines())
    assert len(times) == 6
    assert len({pid for *_, pid in times}) == 3
    for (_, ended, _), (began, _, _) in itertools.pairwise(times):
        assert ended <= began


def test_a_child_that_breaks_loses_its_group_alone_and_its_last_words_are_the_reason(run):
    found = run({"one": [["a"], ["raise it"], ["b"]]})
    assert statuses(found["one"]) == {"a": "ok", "raise it": "crashed", "b": "ok"}
    assert "RuntimeError: broke in raise it" in found["one"][1]["reason"]


def test_a_child_that_takes_too_long_is_ended_and_the_rest_goes_on(run):
    found = run({"one": [["hang"], ["a"]]}, seconds=2.0)
    assert statuses(found["one"]) == {"hang": "timed out", "a": "ok"}


def test_an_answer_outside_the_protocol_is_a_crash(run):
    assert statuses(run({"one": [["babble"], ["a"]]})["one"]) == {"babble": "crashed", "a": "ok"}


def test_a_form_without_an_answer_is_a_crash(run):
    assert statuses(run({"one": [["a", "mute"]]})["one"]) == {"a": "ok", "mute": "crashed"}


def test_a_batch_that_does_not_fit_is_halved_for_all_forms(run):
    rows = run({"one": [["a"], ["large"]]})["one"]
    assert [(row["form"], row["batch"]) for row in rows] == [("a", 1), ("large", 1)]


def test_what_is_not_done_by_the_deadline_is_not_reached_and_not_dropped(run):
    began = time.monotonic()
    found = run({"one": [["hang"], ["a"]], "two": [["b"]]}, processes=1, minutes=0.05)
    assert time.monotonic() - began < 30
    assert statuses(found["one"]) == {"hang": "not reached", "a": "not reached"}
    assert statuses(found["two"]) == {"b": "not reached"}


def test_groups_behind_a_pause_come_after_those_of_other_jobs(run, tmp_path):
    found = run({"one": [["a"], ["late"]], "two": [["b"], ["late"]]}, processes=1, pause_after=1)
    assert statuses(found["one"]) == {"a": "ok", "late": "ok"}
    assert statuses(found["two"]) == {"b": "ok", "late": "ok"}
    children = [json.loads(line)[2] for line in (tmp_path / "diary").read_text().splitlines()]
    assert children[0] not in children[1:]  # the first job gave way, and another child did the rest of it


def test_a_job_without_groups_is_done_at_once(run):
    assert run({"one": []}) == {"one": []}
