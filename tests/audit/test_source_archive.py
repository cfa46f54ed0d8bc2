"""Archives of any search: what is read, what is left out, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from audit.sources.archive import read_archive
from audit.threshold.evidence import DECLARED, ThresholdEvidence
from replication.settings import InputError

HEADER = "id,loss,baseline_loss"


def written(folder: Path, text: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_csv_with_the_needed_columns_is_read(tmp_path: Path) -> None:
    tables = read_archive(written(tmp_path, f"{HEADER},prompt\na,4.0,4.4,hello\nb,,4.4,\nc,nan,,\n"))
    rows = tables.proposals
    assert rows["source"].unique().tolist() == ["mine"]
    assert rows["status"].tolist() == ["ok", "missing", "missing"]
    assert rows["loss"][0] == 4.0
    assert math.isnan(rows["baseline_loss"][2])
    assert tables.certificates.empty
    assert tables.ignored == ("prompt",)
    ThresholdEvidence(tables.proposals, tables.certificates)


def test_jsonl_gives_what_the_same_csv_gives(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "loss": 4.0, "baseline_loss": 4.4, "honest_loss": 4.3, "leaky": True, "status": "ok", "name": "Net"},
        {"id": 2, "loss": None, "baseline_loss": 4.4, "leaky": False, "status": "crashed"},
        {"id": 3, "loss": 4.2, "baseline_loss": 4.4, "leaky": None, "benchmark": 0.4, "baseline_benchmark": 0.5},
    ]
    text = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    columns = f"{HEADER},honest_loss,leaky,status,name,benchmark,baseline_benchmark\n"
    same = "1,4.0,4.4,4.3,true,ok,Net,,\n2,,4.4,,False,crashed,,,\n3,4.2,4.4,,,,,0.4,0.5\n"
    first = read_archive(written(tmp_path, text, "mine.jsonl"))
    second = read_archive(written(tmp_path, columns + same))
    assert first.proposals.equals(second.proposals)
    assert first.certificates.equals(second.certificates)
    assert first.certificates[["check", "outcome"]].to_numpy().tolist() == [
        [DECLARED, "violated"],
        [DECLARED, "certified"],
    ]
    assert first.proposals["leak_gain"][0] == pytest.approx(0.3)
    assert ThresholdEvidence(first.proposals, first.certificates).truth("mine") == {"1": True, "2": False}


def test_a_file_named_like_our_own_evidence_is_told_apart(tmp_path: Path) -> None:
    rows = read_archive(written(tmp_path, f"{HEADER}\na,4,5\n", "zoo.csv")).proposals
    assert rows["source"].unique().tolist() == ["archive_zoo"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,loss\na,4\n", "column baseline_loss is missing"),
        (f"{HEADER}\n", "there are no rows"),
        (f"{HEADER}\na,4,5\na,4,5\n", "row 1, column id: a second row for 'a'"),
        (f"{HEADER}\n ,4,5\n", "row 0, column id: expected a text, got nothing"),
        (f"{HEADER}\na,4,5\nb,low,5\n", "row 1, column loss: expected a number, got 'low'"),
        (f"{HEADER}\na,-4,5\n", "row 0, column loss: must be above 0"),
        (f"{HEADER}\na,4,0\n", "row 0, column baseline_loss: must be above 0"),
        (f"{HEADER}\na,4\n", "row 0: it has not as many cells as the header"),
        (f"{HEADER}\na,4,5,6\n", "row 0: it has not as many cells as the header"),
        (f"{HEADER},leaky\na,4,5,maybe\n", "row 0, column leaky: expected true, false or nothing; got 'maybe'"),
        (f"{HEADER},status\na,4,5,fine\n", "row 0, column status: expected one of ok"),
        (f"{HEADER},status\na,4,5,crashed\n", r"row 0, column loss: a crashed proposal has one \(4.0\)"),
        (f"{HEADER},status\na,,5,ok\n", "row 0, column loss: an ok proposal needs a loss"),
        (f"{HEADER},loss\na,4,5,6\n", "column 'loss' stands there twice"),
    ],
)
def test_a_bad_csv_is_refused_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_archive(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": "a", "loss": 4, "baseline_loss": 5}\n[1]\n', "row 1: expected an object, got a list"),
        ('{"id": "a"\n', "row 0: not JSON"),
        ('{"id": "a", "loss": true, "baseline_loss": 5}\n', "row 0, column loss: expected a number, got True"),
        ('{"id": ["a"], "loss": 4, "baseline_loss": 5}\n', r"row 0, column id: expected a text, got \['a'\]"),
        ('{"id": "a", "loss": {"val": 4}, "baseline_loss": 5}\n', "row 0, column loss: expected a number"),
    ],
)
def test_a_bad_jsonl_is_refused_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_archive(written(tmp_path, text, "mine.jsonl"))


def test_a_file_of_another_kind_or_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine.parquet should be a .csv or a .jsonl file"):
        read_archive(tmp_path / "mine.parquet")
    with pytest.raises(InputError, match=r"mine.csv cannot be read"):
        read_archive(tmp_path / "mine.csv")
    (tmp_path / "mine.csv").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match=r"mine.csv cannot be read"):
        read_archive(tmp_path / "mine.csv")
