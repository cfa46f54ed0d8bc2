"""The exported tables: what the audit reads, and what a person would."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from audit.search.export import TIME_COLUMNS, export
from audit.sources.archive import read_archive
from loop.records import Component, Experiment
from tests.loop.conftest import make_experiment, make_rejected

FILES = ("attempts.csv", "components.csv", "experiments.csv", "programs.jsonl")


def written(folder: Path, done: Sequence[Experiment], **overrides: Any) -> dict[str, str]:
    rest: dict[str, Any] = {
        "baseline": {"baseline_loss": 2.5, "baseline_benchmark": 0.5},
        "tasks": ("next_token", "multi_query_recall"),
        "discoveries": {2},
    }
    files = export(done, **{**rest, **overrides})
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="ascii" if name.endswith("jsonl") else "utf-8")
    return dict(sorted(files.items()))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), strict=True))


@pytest.fixture
def experiment() -> Any:
    return make_experiment


@pytest.fixture
def rejected() -> Experiment:
    return make_rejected()


@pytest.fixture
def done(experiment: Any, rejected: Experiment) -> list[Experiment]:
    crashed = experiment(
        2, status="crashed", reason="it broke", loss=None, honest_loss=None, benchmarks={}, looks_ahead=None
    )
    return [experiment(0), rejected, crashed, experiment(3, looks_ahead=True, benchmarks={"next_token": 0.5})]


def test_the_audit_reads_the_experiments(tmp_path: Path, done: list[Experiment]) -> None:
    assert tuple(written(tmp_path, done)) == FILES
    tables = read_archive(tmp_path / "experiments.csv")
    shown = tables.proposals.set_index("candidate")
    assert list(shown["status"]) == ["ok", "missing", "crashed", "ok"]
    assert shown.loc["0", "loss"] == done[0].loss
    assert shown.loc["0", "benchmark"] == 0.375
    assert shown["baseline_loss"].tolist() == [2.5] * 4
    assert [math.isnan(loss) for loss in shown["loss"]] == [False, True, True, False]
    assert tables.certificates["outcome"].tolist() == ["certified", "violated", "certified", "violated"]


def test_compute_adds_up_over_all_experiments_failures_included(tmp_path: Path, done: list[Experiment]) -> None:
    table = rows(written(tmp_path, done)["experiments.csv"])
    assert [float(row["compute"]) for row in table] == [1.5, 2.0, 3.5, 5.0]
    assert [row["order"] for row in table] == ["0", "1", "2", "3"]


def test_an_experiment_says_what_became_of_it(tmp_path: Path, done: list[Experiment]) -> None:
    ok, rejected, crashed, partial = rows(written(tmp_path, done)["experiments.csv"])
    assert (ok["parent"], ok["parameters"], ok["attempts"], ok["seed"]) == ("", "1000", "1", "7")
    assert (ok["fitness_strict"], ok["mark_innovation"], ok["rule_one_sided"]) == ("0.4", "5.0", "false")
    assert (ok["accuracy_next_token"], ok["discovery"], crashed["discovery"]) == ("0.5", "false", "true")
    assert (rejected["verdict"], rejected["reason"]) == ("leaky", "no version was accepted")
    assert (rejected["loss"], rejected["fitness_strict"], rejected["parent"]) == ("", "", "0")
    assert (crashed["verdict"], crashed["reason"], crashed["benchmark"]) == ("accepted", "it broke", "")
    assert partial["benchmark"] == ""  # a task of those that count is missing


@pytest.mark.parametrize(
    ("certified", "looks_ahead", "expected"), [(True, False, "false"), (None, False, ""), (None, True, "true")]
)
def test_leaky_is_what_is_known_of_it(
    certified: bool | None, looks_ahead: bool, expected: str, tmp_path: Path, experiment: Any
) -> None:
    one = experiment(0, certified=certified, looks_ahead=looks_ahead)
    unknown = replace(one, attempts=(replace(one.attempts[0], certificate=None),))
    assert rows(written(tmp_path, [unknown])["experiments.csv"])[0]["leaky"] == expected


def test_attempts_and_components_have_a_row_each(tmp_path: Path, done: list[Experiment]) -> None:
    files = written(tmp_path, done)
    attempts = rows(files["attempts.csv"])
    assert [(row["experiment"], row["attempt"]) for row in attempts] == [
        ("0", "0"), ("1", "0"), ("1", "1"), ("2", "0"), ("3", "0")
    ]  # fmt: skip
    assert [(row["verdict"], row["mistakes"]) for row in attempts[1:3]] == [("duplicate", ""), ("leaky", "leak")]
    components = rows(files["components.csv"])
    assert [row["experiment"] for row in components] == ["0", "2", "3"]
    assert list(components[0].values())[1:] == ["output_gate_silu", "analysis", "truth"]


def test_programs_keep_every_character_of_their_source(tmp_path: Path, experiment: Any) -> None:
    one = experiment(0, source="# \x00 \ud800 é\nclass Mixer: ...\n")
    (line,) = written(tmp_path, [one])["programs.jsonl"].splitlines()
    document = json.loads(line)
    assert document["source"] == one.source
    assert sorted(document) == ["analysis", "motivation", "name", "number", "source"]


def test_a_strangers_text_stays_one_harmless_cell(tmp_path: Path, experiment: Any) -> None:
    nasty = '=HYPERLINK("x"),\n\x00\u202e\ud800"'
    parts = (Component(component=nasty, origin="original", labelled_by="model"),)
    files = written(tmp_path, [experiment(0, name=nasty, reason=nasty, components=parts)])
    assert read_archive(tmp_path / "experiments.csv").proposals["name"].str.startswith("'=HYPERLINK").all()
    for name in ("experiments.csv", "components.csv"):
        assert len(files[name].splitlines()) == 2
        assert len(rows(files[name])) == 1


def test_equal_searches_export_equal_bytes_but_for_the_columns_of_times(tmp_path: Path, done: list[Experiment]) -> None:
    slow = [replace(one, device_seconds=9.0, timings={"train": 9.0}) for one in done]
    one, two = written(tmp_path / "one", done), written(tmp_path / "two", slow)
    assert one == written(tmp_path / "again", done)
    assert [name for name in FILES if one[name] != two[name]] == ["experiments.csv"]
    for left, right in zip(rows(one["experiments.csv"]), rows(two["experiments.csv"]), strict=True):
        assert {name for name in left if left[name] != right[name]} == set(TIME_COLUMNS)


def test_a_search_without_experiments_or_baselines_is_written_too(tmp_path: Path, experiment: Any) -> None:
    assert rows(written(tmp_path, [])["experiments.csv"]) == []
    none = {"baseline_loss": None, "baseline_benchmark": None}
    written(tmp_path, [experiment(0)], baseline=none, tasks=())
    assert read_archive(tmp_path / "experiments.csv").proposals["baseline_loss"].isna().all()
