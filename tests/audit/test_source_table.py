"""Loop logs by a column map: CSV, TSV and parquet give the same log, with every record read or listed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from audit.single_seed.log import LoopLog
from audit.sources.table import ColumnMap, read_table
from replication.settings import InputError, typed
from tests.audit.loop_logs import FUZZ, read_or_refused, saved

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "log" / "table.yaml"
MAP = {"value": "loss", "label": "run", "order": "step", "status": "kept", "description": "what"}
TRIED = pd.DataFrame(
    {
        "run": ["a", "b", "c", "d"],
        "loss": [1.5, 1.25, 1.375, float("nan")],
        "step": [2, 1, 4, 3],
        "kept": [True, True, False, True],
        "what": ["wide", "deep, narrow", 'a "new" gate', "none"],
        "extra": [0, 0, 0, 0],
    }
)


def columns(**overrides: object) -> ColumnMap:
    return typed(ColumnMap, yaml.safe_load(CONFIG.read_text(encoding="utf-8")) | MAP | overrides, "log")


def write(path: Path, frame: pd.DataFrame) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",", quoting=0)
    return path


def read_text(tmp_path: Path, text: str | bytes, suffix: str = ".csv", **overrides: object) -> LoopLog:
    return read_table(saved(tmp_path / f"tried{suffix}", text), columns(**overrides))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_is_read_in_the_order_of_the_loop(tmp_path: Path, suffix: str) -> None:
    log = read_table(write(tmp_path / f"tried{suffix}", TRIED), columns())
    assert log.rows.to_dict("list") == {
        "row": [2, 1, 3],
        "label": ["b", "a", "c"],
        "value": [1.25, 1.5, 1.375],
        "kept": [True, True, False],
        "description": ["deep, narrow", "wide", 'a "new" gate'],
    }
    assert log.excluded["row"].tolist() == [4]
    assert log.excluded["reason"].iloc[0] in ("no number in loss", "loss is not finite")
    assert "columns not read: extra" in log.notes


def test_a_tsv_has_a_row_a_line_and_quotes_are_text(tmp_path: Path) -> None:
    text = 'run\tloss\tstep\tkept\twhat\na\t1.5\t1\tkeep\t"half a quote\nb\t1.4\t2\tkeep\tx\n'
    log = read_text(tmp_path, text, ".tsv")
    assert log.rows["description"].tolist() == ['"half a quote', "x"]


def test_columns_that_the_map_leaves_out_are_made_up_for(tmp_path: Path) -> None:
    text = "loss\n1.5\n1.6\n1.4\n"
    bare = dict.fromkeys(("label", "order", "status", "description"))
    log = read_text(tmp_path, text, **bare)
    assert log.rows["label"].tolist() == ["row 1", "row 2", "row 3"]
    assert log.rows["kept"].tolist() == [True, False, True]
    log = read_text(tmp_path, text, **bare, direction="higher")
    assert log.rows["kept"].tolist() == [True, True, False]


@pytest.mark.parametrize("zone", ["", "+00:00"])
def test_times_order_rows_and_equal_times_follow_the_file(tmp_path: Path, zone: str) -> None:
    times = ["2026-01-02T00:00:00", "2026-01-01T12:30:00", "2026-01-02T00:00:00"]
    rows = "".join(f"r{i},1.{i},{time}{zone},keep,x\n" for i, time in enumerate(times))
    log = read_text(tmp_path, f"run,loss,step,kept,what\n{rows}")
    assert log.rows["label"].tolist() == ["r1", "r0", "r2"]
    assert "1 row has the same place in the order as a row before, and the file decides between them" in log.notes


def test_times_of_a_parquet_file_order_rows(tmp_path: Path) -> None:
    frame = TRIED.assign(step=[datetime(2026, 1, day) for day in TRIED["step"]])
    log = read_table(write(tmp_path / "tried.parquet", frame), columns())
    assert log.rows["label"].tolist() == ["b", "a", "c"]


def test_a_row_without_a_place_in_the_order_is_left_out(tmp_path: Path) -> None:
    log = read_text(tmp_path, "run,loss,step,kept,what\na,1.5,soon,keep,x\nb,1.4,1,keep,x\n")
    assert log.excluded.to_dict("records") == [
        {"row": 1, "reason": "no number or ISO 8601 time in step", "text": "a | 1.5 | soon | keep | x"}
    ]


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("run,loss\na,1\n", {}, "no column 'step', as log.order says .columns: run, loss"),
        ("run,loss,loss\na,1,1\n", {"order": None}, "more than one column 'loss', as log.value says"),
        ("run,loss\na,1\n", {"value": None}, "name the column of the metric in log.value .columns: run, loss"),
        ("", {}, "no column 'loss'"),
        ("run,loss,step,kept,what\n", {}, "no row can be used"),
        ('run,loss,step,kept,what\n"a,1,1,keep,x\n', {}, "not CSV"),
        ("run,loss,step,kept,what\na,1,1,keep,x\nb,1,2026-01-01,keep,x\n", {}, "numbers and times are mixed"),
    ],
)
def test_a_table_that_does_not_fit_the_map_is_refused_in_one_line(
    tmp_path: Path, text: str, overrides: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_text(tmp_path, text, **overrides)
    assert "\n" not in str(caught.value)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected one of \.csv, \.tsv, \.parquet"):
        read_text(tmp_path, "{}", ".json")


# Fuzz: a log with every record accounted for, or one line that says what is wrong.

RECORDS = st.lists(st.lists(st.text(max_size=8) | st.floats().map(repr), max_size=7), max_size=10)


@FUZZ
@given(records=RECORDS)
def test_any_records_are_read_or_listed(tmp_path: Path, records: list[list[str]]) -> None:
    rows = [["a", "1", "1", "keep", "x"], *records]
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows]
    content = "\n".join(["run,loss,step,kept,what", *quoted]).encode("utf-8", "surrogatepass")
    log = read_or_refused(lambda: read_text(tmp_path, content))
    assert log is None or len(log.rows) + len(log.excluded) == len(rows) - (not quoted[-1])


@FUZZ
@given(data=st.data())
def test_a_broken_parquet_file_is_read_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(write(tmp_path / "whole.parquet", TRIED).read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    read_or_refused(lambda: read_text(tmp_path, bytes(content[:cut]), ".parquet"))
