"""Published tables and archives as courses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from audit.manifest import plan_sha256
from audit.scaling_law.archives import archive_course, archive_name
from audit.scaling_law.course import BASELINE, GALLERY, RECORD
from audit.scaling_law.plan import ScalingLawSettings
from audit.scaling_law.published import figure_course, tree_course
from audit.sheets import Sheet, SheetTable
from replication.configure import compose
from replication.settings import InputError, typed


def sheet(name, **columns):
    return Sheet(
        name,
        f"{name}.csv",
        pd.DataFrame(columns, dtype=object).set_axis(range(1, len(next(iter(columns.values()))) + 1)),
    )


def sheets(scores, identifiers, gallery):
    parents = [None, *[1] * (len(scores) - 1)]
    return SheetTable(
        tree=sheet("tree", index=identifiers, parent=parents, score=scores), gallery=sheet("gallery", index=gallery)
    )


def test_the_root_is_no_discovery_and_missing_numbers_count_as_experiments():
    found = tree_course(sheets([1.0, 0.5, 2.0, 1.5], [1, 2, 4, 6], [4, 6]), 4)
    times = {one.definition: one.times.tolist() for one in found.processes}
    assert times == {GALLERY: [4.0, 6.0], BASELINE: [4.0, 6.0], RECORD: [4.0]}
    assert (found.end, len(found.experiments), found.baseline) == (6.0, 6, 1.0)
    assert not found.measured


def test_the_gallery_is_the_headline_of_the_published_search():
    assert tree_course(sheets([1.0, 2.0], [1, 2], [2]), 4).headline.definition == GALLERY


def test_events_of_a_figure_are_spread_within_their_pieces_and_keep_its_counts():
    points = sheet("figure1", hours=["0", "200", "400", "600", "800"], cum_sota=["0", "0", "3", "3", "4"])
    found = figure_course(points)
    assert found.batches.tolist() == [0.0, 3.0, 0.0, 1.0]
    assert np.searchsorted(found.headline.times, [200, 400, 600, 800], side="right").tolist() == [0, 3, 3, 4]
    assert found.end == 800.0


@pytest.mark.parametrize(
    ("hours", "counts", "message"),
    [
        (["0", "1", "2", "3", "4"], ["0", "2", "1", "3", "4"], "cumulative counts"),
        (["0", "1", "2", "3", "9"], ["0", "1", "1", "3", "4"], "equally spaced"),
    ],
)
def test_a_figure_that_is_no_cumulative_count_is_refused(hours, counts, message):
    with pytest.raises(InputError, match=message):
        figure_course(sheet("figure1", hours=hours, cum_sota=counts))


def archive(path, *, compute=True, noise=False):
    folder = path / "archive"
    folder.mkdir()
    table = pd.DataFrame(
        {
            "id": range(5),
            "loss": [2.0, 1.9, 1.5, None, 1.8],
            "baseline_loss": 1.95,
            "leaky": ["false", "false", "true", "", "false"],
            "status": ["ok", "ok", "ok", "diverged", "ok"],
            "compute": [1.0, 2.5, 3.0, 3.5, 6.0],
        }
    )
    (table if compute else table.drop(columns="compute")).to_csv(folder / "experiments.csv", index=False)
    if noise:
        details = {"kind": "best_gain", "noise": {"sd": 0.02, "degrees": 2, "baselines": 2}, "reference_seeds": 3}
        (path / "findings.json").write_text(json.dumps({"findings": [{"details": {}}, {"details": details}]}))
    return folder / "experiments.csv"


def test_a_leak_is_no_discovery_and_failures_use_compute(tmp_path):
    found = archive_course(archive(tmp_path), "reference", "Made", 4)
    times = {one.definition: one.times.tolist() for one in found.processes}
    assert times == {BASELINE: [2.5, 6.0], RECORD: [2.5, 6.0]}
    assert (found.end, found.unit, found.measured) == (6.0, "device seconds", True)


def test_without_a_column_of_compute_experiments_are_counted_and_the_course_says_so(tmp_path):
    found = archive_course(archive(tmp_path, compute=False), "made", "Made", 4)
    assert (found.end, found.unit, found.measured) == (5.0, "experiments", False)
    assert "no column compute" in found.compute_words


def test_seed_noise_comes_from_the_report_beside_the_archive(tmp_path):
    found = archive_course(archive(tmp_path, noise=True), "made", "Made", 4)
    assert (found.noise.sd, found.noise.degrees, found.noise.seeds) == (0.02, 2.0, 3)


def test_without_a_report_the_noise_is_not_known(tmp_path):
    assert archive_course(archive(tmp_path), "made", "Made", 4).noise is None


def test_compute_that_falls_is_refused_with_its_row(tmp_path):
    path = archive(tmp_path)
    path.write_text(path.read_text().replace("3.5", "0.5"))
    with pytest.raises(InputError, match="row 3, column compute"):
        archive_course(path, "made", "Made", 4)


def test_an_archive_cannot_take_the_name_of_another_source(tmp_path):
    assert archive_name(tmp_path / "reference.csv") == "archive_reference"
    assert archive_name(tmp_path / "mine.csv") == "mine"


def test_the_registered_plan_is_the_one_in_force():
    cfg = typed(ScalingLawSettings, compose("audit_scaling", [])["audit"], "audit")
    assert plan_sha256(cfg.plan) == cfg.registered_plan


def test_the_unit_of_a_strangers_compute_is_not_claimed(tmp_path):
    found = archive_course(archive(tmp_path), "mine", "Mine", 4)
    assert found.unit == "units of compute"
    assert "not checked" in found.compute_words


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("amounts", [(1, 2, 3), (10**30, 10**31, 10**32)])
def test_compute_in_json_lines_is_read_as_the_rest_of_them(tmp_path, start, amounts):
    rows = [{"id": i, "loss": 2.0 - 0.1 * i, "baseline_loss": 1.95, "compute": c} for i, c in enumerate(amounts)]
    (tmp_path / "made.jsonl").write_text(start + "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert archive_course(tmp_path / "made.jsonl", "made", "Made", 4).end == float(amounts[-1])


@pytest.mark.parametrize("document", [[1], {"findings": [3]}, {"findings": [{"details": None}]}, {"findings": 3}])
def test_a_report_of_something_else_beside_the_archive_is_refused(tmp_path, document):
    path = archive(tmp_path)
    (tmp_path / "findings.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="not the findings of a search"):
        archive_course(path, "made", "Made", 4)
