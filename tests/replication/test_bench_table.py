"""The table of a bench: which times count, and what is kept of what a child says."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from replication.bench.settings import Tolerance, read_group, read_scale, read_settings
from replication.bench.table import COLUMNS, TIMES, checked_row, compared, read_files, table, write_files
from replication.configure import compose
from replication.settings import InputError

TOLERANCE = Tolerance(loss=1e-3, gradients=1e-2)
KNOWN = {"kind": "step", "name": "program", "size": "final", "device": "cpu"}


def row(form, loss=2.0, gradients=(1.0, 2.0), **more):
    told = {"form": form, "status": "ok", "seconds": 1.0, "low": 0.9, "high": 1.1, **more}
    return checked_row(told, KNOWN) | {"check": {"loss": loss, "gradients": list(gradients)}}


def test_a_step_that_agrees_with_the_program_as_published_keeps_its_times():
    ours, published = compared([row("ours", loss=2.001), row("published")], TOLERANCE)
    assert (ours["status"], ours["seconds"]) == ("ok", 1.0)
    assert ours["error"] == pytest.approx(5e-4)
    assert published["error"] == 0.0


@pytest.mark.parametrize(
    ("loss", "gradients"), [(2.1, (1.0, 2.0)), (2.0, (1.0, 2.1)), (math.nan, (1.0, 2.0)), (2.0, (1.0, math.nan))]
)
def test_a_step_with_another_loss_or_gradient_is_wrong_and_loses_its_times(loss, gradients):
    published, ours = compared([row("published"), row("ours", loss, gradients)], TOLERANCE)
    assert published["status"] == "ok"
    assert ours["status"] == "wrong"
    assert all(ours[name] is None for name in TIMES)
    assert "apart" in ours["reason"]


def test_gradients_are_compared_tensor_by_tensor():
    swapped = compared([row("published"), row("ours", gradients=(2.0, 1.0))], TOLERANCE)[1]
    assert swapped["status"] == "wrong"


def test_the_published_form_is_the_reference_wherever_it_stands():
    ours, published = compared([row("ours", loss=3.0), row("published")], TOLERANCE)
    assert (ours["status"], published["status"]) == ("wrong", "ok")


def test_without_the_published_form_the_others_are_compared_with_the_first():
    lost = checked_row({"form": "published", "status": "timed out"}, KNOWN)
    found = compared([lost, row("ours"), row("fla", loss=3.0)], TOLERANCE)
    assert [each["status"] for each in found] == ["timed out", "ok", "wrong"]


@pytest.mark.parametrize(
    "check", [None, {"loss": 2.0}, {"loss": "2", "gradients": []}, {"loss": 2.0, "gradients": [1.0]}]
)
def test_a_step_that_shows_no_comparable_numbers_is_wrong(check):
    found = compared([row("published"), row("ours") | {"check": check}], TOLERANCE)[1]
    assert found["status"] == "wrong"


def test_a_child_cannot_say_what_is_known_nor_bring_other_columns():
    found = checked_row({"form": "ours", "status": "ok", "seconds": 1.0, "name": "better", "score": 9.0}, KNOWN)
    assert found["name"] == "program"
    assert set(found) == set(COLUMNS)


@pytest.mark.parametrize(
    "told",
    [{"status": "ok"}, {"status": "ok", "seconds": "fast"}, {"status": "ok", "seconds": math.inf}, {"status": "great"}],
)
def test_an_answer_without_a_time_or_with_an_unknown_status_is_a_crash(told):
    assert checked_row({"form": "ours", **told}, KNOWN)["status"] == "crashed"


def test_a_dry_run_keeps_no_time():
    frame = table([row("ours")], dry=True)
    assert frame["status"].tolist() == ["dry run"]
    assert frame[list(TIMES)].isna().all().all()


def test_a_table_is_read_back_as_it_was_written(tmp_path):
    frame = table([row("ours", lifted="delta_rule"), row("published")], dry=False)
    write_files(tmp_path, frame, {"machine": "a machine", "device": "cpu"})
    back, about = read_files(tmp_path / "bench.csv")
    pd.testing.assert_frame_equal(back, frame, check_dtype=False)
    assert about["machine"] == "a machine"


def test_a_table_without_its_description_or_with_unknown_words_is_refused(tmp_path):
    path = tmp_path / "bench.csv"
    table([row("ours")], dry=False).to_csv(path, index=False)
    with pytest.raises(InputError, match=r"bench\.json"):
        read_files(path)
    write_files(tmp_path, table([row("ours") | {"status": "superb"}], dry=False), {})
    with pytest.raises(InputError, match="superb"):
        read_files(path)
    write_files(tmp_path, table([row("ours")], dry=False).drop(columns="form"), {})
    with pytest.raises(InputError, match="form"):
        read_files(path)


def test_settings_without_hydra_are_those_that_hydra_composes():
    from replication.bench.settings import BenchSettings
    from replication.settings import typed

    assert read_settings() == typed(BenchSettings, compose("bench", [])["bench"], "bench")


def test_every_scale_and_group_of_the_plan_is_there_and_changes_reach_it():
    settings = read_settings(minutes=1.5, programs=2)
    assert (settings.minutes, settings.published_settings().top) == (1.5, 2)
    for one in (*settings.gpu.steps, *settings.cpu.steps):
        assert read_scale(one.scale).name == one.scale
        assert one.precision in settings.tolerance
    assert settings.optimiser_settings().beta1 > 0
    assert settings.containment_settings().confine
    with pytest.raises(InputError, match="nowhere"):
        read_group("scale", "nowhere")
    with pytest.raises(InputError, match="minutes"):
        read_settings(minutes=0.0)
