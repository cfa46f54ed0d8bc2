"""All consistency checks together: seeded errors are found, and a sound paper is left alone."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import yaml

from audit.consistency.checks import CONSISTENCY, ConsistencyEntry, ConsistencyResults, consistency, read_entries
from audit.consistency.inconsistency import Inconsistency, inconsistency_table
from audit.sources.asi_arch_tables import read_sheets
from replication.published import PublishedSettings
from replication.settings import InputError, typed
from tests.audit.corruptions import ERRORS, Desk, Error, corrupt, place
from tests.audit.synthetic_paper import Paper, synthetic_paper, write_paper

CONF = Path(__file__).parents[2] / "conf"
TABLES = ("table1", "table2", "table3", "figure1", "figure6", "figure7", "figure8")


def results(paper: Paper, folder: Path) -> ConsistencyResults:
    write_paper(paper, folder)
    return checked(folder)


@cache
def entries() -> list[ConsistencyEntry]:
    listed = yaml.safe_load((CONF / "claims/asi_arch.yaml").read_text(encoding="utf-8"))["consistency"]
    return read_entries(listed, "consistency")


@cache
def settings_text() -> str:
    return json.dumps(yaml.safe_load((CONF / "published/asi_arch.yaml").read_text(encoding="utf-8")))


def checked(folder: Path) -> ConsistencyResults:
    settings = json.loads(settings_text())
    settings["root"] = str(folder)
    for file in ("gallery", "tree"):
        settings[file]["sha256"] = None
    sheets = read_sheets(typed(PublishedSettings, settings, "published"), {name: f"{name}.csv" for name in TABLES})
    return consistency(sheets, entries())


def reported(found: ConsistencyResults) -> list[Inconsistency]:
    return [one for result in found.checked.values() for one in result.inconsistencies]


def fits(error: Error, one: Inconsistency) -> bool:
    """Whether a finding names the error: its kind, file, row and column."""
    place = (one.kind, one.file, one.row) == (error.kind, error.file, error.at)
    return place and error.column in one.column.split(" + ") and error.text in one.recomputed


@pytest.mark.parametrize("seed", range(20))
def test_a_paper_that_is_consistent_gives_no_false_alarm(tmp_path: Path, seed: int) -> None:
    found = results(synthetic_paper(seed, linear=seed % 2 == 0), tmp_path)
    assert not found.not_run
    assert reported(found) == []
    assert all(result.compared > 0 for result in found.checked.values())


@pytest.mark.parametrize("seed", range(10))
def test_ten_seeded_errors_of_different_kinds_are_all_found_where_they_are(tmp_path: Path, seed: int) -> None:
    paper = synthetic_paper(1000 + seed)
    errors = corrupt(paper, seed, 10)
    found = reported(results(paper, tmp_path))
    missed = {name: error for name, error in errors.items() if not any(fits(error, one) for one in found)}
    assert not missed


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_found_alone_and_only_in_its_own_file_and_what_is_joined_to_it(tmp_path: Path, name: str) -> None:
    paper = synthetic_paper(77)
    error = place(Desk.seeded(paper, 5), [name])[name]
    found = results(paper, tmp_path)
    assert any(fits(error, one) for one in reported(found))
    assert not found.not_run
    assert len(reported(found)) <= (40 if name == "gallery_row_deleted" else 4)


def test_every_check_is_in_use_or_tested_by_itself() -> None:
    used = {entry.check for entry in entries()}
    assert set(CONSISTENCY) - used == {"percentages", "formula", "cumulative_series"}


def test_the_table_of_inconsistencies_says_the_same_thing_once(tmp_path: Path) -> None:
    paper = synthetic_paper(3)
    corrupt(paper, 3, 10)
    found = reported(results(paper, tmp_path))
    table = inconsistency_table([*found, *found])
    assert len(table) == len(set(found))
    assert list(table.columns) == ["kind", "file", "row", "column", "printed", "recomputed", "note"]


def test_an_absent_file_is_a_reason_and_no_finding(tmp_path: Path) -> None:
    write_paper(synthetic_paper(1), tmp_path)
    (tmp_path / "table3.csv").unlink()
    found = checked(tmp_path)
    assert reported(found) == []
    assert found.not_run
    assert all("table3" in reason for reason in found.not_run.values())


def test_a_check_that_nobody_knows_is_named() -> None:
    with pytest.raises(InputError, match="no check 'horoscope'"):
        read_entries([{"id": "a", "check": "horoscope", "parameters": {}}], "consistency")
    with pytest.raises(InputError, match=r"consistency\[0\] \(a\)\.parameters\.stated: setting is missing"):
        read_entries([{"id": "a", "check": "row_count", "parameters": {"sheet": "x", "left_out": []}}], "consistency")


def test_the_published_data_run_through_every_check(published_root: Path) -> None:
    found = checked(published_root)
    assert not found.not_run
    files = {path.name for path in published_root.iterdir()}
    assert {one.file.split(",")[0] for one in reported(found)} <= files
