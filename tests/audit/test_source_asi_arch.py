"""Published tables as evidence: every program is kept, and every published loss is."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import yaml

from audit.sources.asi_arch import programs, proposals
from audit.threshold.evidence import CERTIFICATE_COLUMNS, ThresholdEvidence
from replication.published import PublishedSettings
from replication.settings import InputError, typed

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "published" / "asi_arch.yaml"
ROWS = [
    {"name": "net_a", "index": 5, "program": "a = 1", "name_new": "Net A"},
    {"name": "net_b", "index": 9, "program": "b = 1", "name_new": "Twin"},
    {"name": "net_c", "index": 7, "program": "c = 1", "name_new": "Twin"},
    {"name": "net_d", "index": 2, "program": "d = 1"},
    {"name": "net_e", "index": 3, "program": "e = 1", "name_new": "Net E"},
]
TABLE = """name,loss_20m,score_20m,loss_340m,score_340m
DeltaNet (Baseline),4.5,36.0,3.5,41.0
Gated DeltaNet (Baseline),4.4,37.0,3.4,42.0
Net_A,4.25,38.5,,43.0
Twin,4.1,36.5,3.3,43.5
Net E,nan,36.5,3.2,43.5
"""


def settings(root: Path) -> PublishedSettings:
    values = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    values["gallery"]["sha256"] = None
    return typed(PublishedSettings, values | {"root": str(root)}, "published")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "gallery.json").write_text(json.dumps(ROWS))
    (tmp_path / "table2.csv").write_text(TABLE)
    return tmp_path


def at(table: pd.DataFrame, scale: str) -> dict[str, dict[str, object]]:
    return {row["candidate"]: row for row in table[table["scale"] == scale].to_dict("records")}


def test_programs_carry_the_losses_of_their_row_at_every_scale_and_baseline(root: Path) -> None:
    table = proposals(settings(root))
    assert table["scale"].unique().tolist() == [
        f"{scale} against {baseline}" for scale in ("20M", "340M") for baseline in ("delta_net", "gated_delta_net")
    ]
    row = at(table, "20M against gated_delta_net")["5"]
    assert (row["loss"], row["baseline_loss"], row["benchmark"], row["baseline_benchmark"]) == (4.25, 4.4, 38.5, 37.0)
    assert (row["name"], row["status"], row["seed"]) == ("net_a", "ok", -1)
    ThresholdEvidence(table, pd.DataFrame(columns=list(CERTIFICATE_COLUMNS)))


def test_a_program_without_one_row_of_its_own_is_kept_without_a_loss(root: Path) -> None:
    rows = at(proposals(settings(root)), "20M against delta_net")
    for candidate in ("9", "7", "2", "3"):
        assert rows[candidate]["status"] == "missing"
        assert math.isnan(rows[candidate]["loss"])
    assert at(proposals(settings(root)), "340M against delta_net")["5"]["status"] == "missing"
    assert at(proposals(settings(root)), "340M against delta_net")["3"]["loss"] == 3.2


def test_a_row_that_fits_several_programs_is_kept_under_its_own_name(root: Path) -> None:
    rows = at(proposals(settings(root)), "20M against delta_net")
    assert sorted(rows) == ["2", "3", "5", "7", "9", "row Twin"]
    assert rows["row Twin"]["loss"] == 4.1


def test_without_the_table_there_are_programs_and_no_losses(root: Path) -> None:
    (root / "table2.csv").unlink()
    assert proposals(settings(root)).empty
    assert list(programs(settings(root))) == [5, 9, 7, 2, 3]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("score_340m", "score", "published.search.scales: score_340m: .*table2.csv has no column 'score_340m'"),
        ("Gated DeltaNet (Baseline)", "Gated", "published.search.baselines.gated_delta_net: .*has no row"),
        ("Net E", "Twin", "table2.csv: 2 rows are named 'Twin'"),
    ],
)
def test_a_table_that_does_not_fit_the_settings_is_refused(root: Path, old: str, new: str, message: str) -> None:
    (root / "table2.csv").write_text(TABLE.replace(old, new))
    with pytest.raises(InputError, match=message):
        proposals(settings(root))


def test_every_published_program_and_loss_is_there(published_root: Path) -> None:
    given = settings(published_root)
    gallery = json.loads((published_root / given.gallery.file).read_text(encoding="utf-8"))
    printed = pd.read_csv(published_root / given.search.table)
    found = proposals(given)
    for scale, columns in given.search.scales.items():
        rows = found[found["scale"] == f"{scale} against delta_net"]
        indices = rows[~rows["candidate"].str.startswith("row ")]["candidate"]
        assert sorted(indices) == sorted(str(row["index"]) for row in gallery)
        losses = printed[~printed["name"].isin(given.search.baselines.values())][columns.loss]
        assert sorted(rows["loss"].dropna()) == sorted(losses.dropna())
