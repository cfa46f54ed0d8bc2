"""Published files as sheets: cells as they stand, what is odd survives, what is broken is named."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from audit.sheets import Sheet
from audit.sources.asi_arch_tables import read_sheets
from replication.published import PublishedSettings
from replication.settings import InputError, typed

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "published" / "asi_arch.yaml"
FILES = {"table1": "table1.csv", "figure1": "figure1.csv"}
NODES = [
    {"index": 1, "parent": None, "score": 1.5, "name": "root", "name_new": "Root"},
    {"index": 1, "parent": 7, "score": math.nan, "name": "twin"},
    {"index": "4", "parent": True, "score": "2", "name": None, "name_new": "Odd"},
]
PROGRAM: dict[str, Any] = {
    "index": 4,
    "parent": 1,
    "score": 1.75,
    "name": "net_a",
    "name_new": "Net A",
    "parameters": "400.5M",
    "summary": "s",
    "motivation": "m",
    "program": "raise SystemExit",
    "result": {
        "train": ",1,100,200\nnet_a,10.5,4.50,nan",
        "test": ",arc,boolq,average\nnet_a,0.25,nan,0.2500",
    },
}


def read(root: Path, **changes: Any) -> dict[str, Sheet]:
    published = yaml.safe_load(CONFIG.read_text(encoding="utf-8")) | {"root": str(root)}
    for name in ("gallery", "tree"):
        published[name] |= {"sha256": None} | changes.get(name, {})
    return read_sheets(typed(PublishedSettings, published, "published"), changes.get("files", FILES))


def save(root: Path, file: str, content: object) -> Path:
    path = root / file
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_csv_cells_are_text_exactly_as_they_stand(tmp_path: Path) -> None:
    save(tmp_path, "table1.csv", "\ufeffname,score\nNet A, +0.50\n,48.60%\n")
    sheet = read(tmp_path)["table1"]
    assert (sheet.name, sheet.file) == ("table1", "table1.csv")
    assert sheet.cells.to_dict("list") == {"name": ["Net A", ""], "score": [" +0.50", "48.60%"]}
    assert sheet.cells.index.tolist() == [1, 2]


def test_absent_files_have_no_sheet(tmp_path: Path) -> None:
    save(tmp_path, "figure1.csv", "hours,count\n0,0\n")
    assert set(read(tmp_path)) == {"figure1"}


def test_duplicates_nan_gaps_and_odd_types_of_the_tree_survive(tmp_path: Path) -> None:
    save(tmp_path, "tree.json", {"total_records": 9, "results": NODES})
    sheets = read(tmp_path)
    cells = sheets["tree"].cells
    assert cells.index.tolist() == [1, 2, 3]
    assert cells["index"].tolist() == [1, 1, "4"]
    assert cells["parent"].tolist() == [None, 7, True]
    assert math.isnan(cells["score"].loc[2])
    assert cells["score"].loc[3] == "2"
    assert cells["name"].tolist() == ["root", "twin", None]
    assert cells["name_new"].tolist() == ["Root", None, "Odd"]
    assert sheets["tree_header"].cells.to_dict("list") == {"total_records": [9]}


def test_a_tree_may_be_a_bare_list(tmp_path: Path) -> None:
    save(tmp_path, "tree.json", NODES)
    assert set(read(tmp_path)) == {"tree"}


def test_logs_of_a_program_become_columns_and_a_curve(tmp_path: Path) -> None:
    save(tmp_path, "gallery.json", [PROGRAM])
    sheets = read(tmp_path)
    row = sheets["gallery"].cells.loc[1]
    assert row["parameters"] == "400.5M"
    logged = ["test.name", "test.arc", "test.boolq", "test.average", "train.name", "train.last", "train.steps"]
    assert row[logged].tolist() == ["net_a", "0.25", "nan", "0.2500", "net_a", "nan", 200]
    assert "program" not in sheets["gallery"].cells
    curve = sheets["curves"].cells
    assert curve.to_dict("list") == {"index": [4, 4, 4], "step": [1, 100, 200], "loss": ["10.5", "4.50", "nan"]}


@pytest.mark.parametrize(
    "log", [None, 5, "", "no table", ",1,2\nnet,1", ',1\n"net,1', ",1\nnet,1\nnet,2", ",1,1\nnet,1,2", {"a": 1}]
)
def test_a_log_that_is_no_table_gives_no_cells_and_no_error(tmp_path: Path, log: object) -> None:
    odd = PROGRAM | {"index": 5, "result": {"train": log, "test": log}}
    save(tmp_path, "gallery.json", [PROGRAM, odd, PROGRAM | {"result": None}])
    sheets = read(tmp_path)
    cells = sheets["gallery"].cells
    assert cells["test.arc"].tolist() == ["0.25", None, None]
    assert cells["train.last"].tolist() == ["nan", None, None]
    assert cells["train.steps"].tolist() == [200, None, None]
    assert set(sheets["curves"].cells["index"]) == {4}


def test_a_heading_that_is_no_step_stays_without_one(tmp_path: Path) -> None:
    odd = PROGRAM | {"result": {"train": ",1,final\nnet_a,5,4.5"}}
    save(tmp_path, "gallery.json", [odd])
    sheets = read(tmp_path)
    assert sheets["curves"].cells["step"].tolist() == [1, None]
    assert sheets["gallery"].cells.loc[1, ["train.last", "train.steps"]].tolist() == ["4.5", None]


def test_programs_may_log_different_benchmarks_and_share_an_index(tmp_path: Path) -> None:
    other = PROGRAM | {"result": PROGRAM["result"] | {"test": ",piqa\nnet_b,0.6"}}
    save(tmp_path, "gallery.json", [PROGRAM, other])
    cells = read(tmp_path)["gallery"].cells
    assert cells["index"].tolist() == [4, 4]
    assert cells["test.piqa"].tolist() == [None, "0.6"]
    assert cells["test.arc"].tolist() == ["0.25", None]


@pytest.mark.parametrize("name", ["gallery", "tree"])
def test_the_hash_is_checked_where_the_settings_give_one(tmp_path: Path, name: str) -> None:
    path = save(tmp_path, f"{name}.json", [])
    right = hashlib.sha256(path.read_bytes()).hexdigest()
    assert name in read(tmp_path, **{name: {"sha256": right}})
    with pytest.raises(InputError, match=f"{name}.json: sha256 is {right}.*published.{name}.sha256=null"):
        read(tmp_path, **{name: {"sha256": "0" * 64}})


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tree.json", "{", "tree.json: not JSON"),
        ("tree.json", "[" * 100_000, "tree.json: not JSON"),
        ("tree.json", '{"results": 5}', "tree.json: expected a list of objects, got a int"),
        ("tree.json", '[{"index": 1}, 5]', "tree.json, row 2: expected an object, got a int"),
        ("tree.json", "[" + "9" * 5000 + "]", "tree.json: not JSON"),
        ("gallery.json", '{"a": 1}', "gallery.json: expected a list of objects, got a dict"),
        ("gallery.json", "[null]", "gallery.json, row 1: expected an object"),
        ("table1.csv", "", "table1.csv: the first line should name the columns"),
        ("table1.csv", "a,b\n1,2\n3\n", "table1.csv, row 2: 1 cells?, the header has 2"),
        ("table1.csv", "a,b\n1,2,3\n", "table1.csv, row 1: 3 cells, the header has 2"),
        ("table1.csv", "a,a\n1,2\n", "table1.csv: column 'a' stands there twice"),
        ("table1.csv", 'a,b\n"1,2\n', "table1.csv: not CSV"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, file: str, content: str, message: str) -> None:
    save(tmp_path, file, content)
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["table1.csv", "tree.json", "gallery.json"])
def test_another_encoding_is_refused_in_one_line(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_bytes('["café"]'.encode("latin-1"))
    with pytest.raises(InputError, match=rf"{file}: not (CSV|JSON).*0xe9") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_and_a_taken_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"published\.root"):
        read(tmp_path / "none")
    with pytest.raises(InputError, match=r"files\.tree"):
        read(tmp_path, files={"tree": "tree.csv"})


def test_every_row_of_the_published_files_is_there(published_root: Path) -> None:
    settings = yaml.safe_load(CONFIG.read_text(encoding="utf-8")) | {"root": str(published_root)}
    files = {path.stem: path.name for path in published_root.glob("*.csv")}
    sheets = read_sheets(typed(PublishedSettings, settings, "published"), files)
    assert set(sheets) >= {*files, "tree", "gallery", "curves"}
    programs = json.loads((published_root / settings["gallery"]["file"]).read_text(encoding="utf-8"))
    assert sheets["gallery"].cells["index"].tolist() == [program["index"] for program in programs]
    for name, file in files.items():
        assert len(sheets[name].cells) == len((published_root / file).read_text(encoding="utf-8").splitlines()) - 1
