"""The bench from end to end at tiny sizes, and one program in one form."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from kernels.bench_cases import cases
from replication.bench import run as bench_run
from replication.bench.command import run_command
from replication.bench.run import run_bench
from replication.bench.settings import read_settings
from replication.bench.steps import FORMS, Training, lacks_fla
from replication.bench.table import TIMES, read_files
from replication.candidate import read_candidate
from replication.plan import BASELINES
from tests.replication.conftest import OPTIMISER, SCALE

SOURCE = read_candidate(BASELINES / "delta_net.py", "baseline").source


def training(form="ours", precision="float32", **more):
    same = {"seed": 1, "vocab_size": 64, "tokens": 2000, "device": "cpu", "precision": precision, "threads": 1}
    return Training(SOURCE, form, SCALE, OPTIMISER, **({"served": "stand-ins"} | same | more))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_program_shows_the_same_loss_and_gradients(form):
    found, expected = training(form).check(), training("published").check()
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-6)
    np.testing.assert_allclose(found["gradients"], expected["gradients"], rtol=1e-4, atol=1e-7)
    assert len(found["gradients"]) > 10
    assert max(found["gradients"]) > 0


def test_a_check_changes_nothing_and_a_step_trains():
    run = training()
    before = run.check()
    assert run.check() == before
    assert run.step() > 0
    after = run.check()
    assert after["loss"] != before["loss"]


def test_another_seed_is_another_model():
    assert training(seed=2).check() != training().check()


def test_bfloat16_is_near_float32_and_not_the_same():
    narrow, wide = training(precision="bfloat16").check(), training().check()
    assert narrow["loss"] != wide["loss"]
    assert narrow["loss"] == pytest.approx(wide["loss"], rel=1e-2)
    np.testing.assert_allclose(narrow["gradients"], wide["gradients"], rtol=0.1, atol=1e-3)


@pytest.fixture
def small_plan(monkeypatch):
    """One operator and one program: seconds instead of minutes."""
    monkeypatch.setattr(bench_run, "cases", lambda profile: cases(profile)[:1])
    settings = read_settings(programs=0, baselines=["delta_net"], minutes=2.0, device="cpu")
    steps = [dataclasses.replace(one, programs=False) for one in settings.gpu.steps if one.scale == "final"]
    return dataclasses.replace(settings, gpu=dataclasses.replace(settings.gpu, steps=tuple(steps)))


def test_a_dry_run_goes_through_every_row_and_keeps_no_time(small_plan):
    told = []
    bench = run_bench(small_plan, dry=True, tell=told.append)
    frame = bench.frame
    unexpected = frame[~frame["status"].isin(["dry run", "refused"])]
    assert unexpected.empty, unexpected[["kind", "name", "form", "status", "reason"]].to_string()
    assert frame.loc[frame["status"] == "refused", "form"].tolist() == ["fla"]
    assert frame[list(TIMES)].isna().all().all()
    steps = frame[frame["kind"] == "step"]
    assert steps["form"].tolist() == ["ours", "published", "fla", "compiled"]
    assert (steps["error"] <= steps["tolerance"]).all()
    assert steps["notes"].str.contains("confinement").all()
    assert len(told) == len(frame)
    assert bench.about["dry_run"]


def test_what_does_not_fit_into_the_time_is_listed_as_not_reached(small_plan):
    hurried = dataclasses.replace(small_plan, minutes=1e-6)
    frame = run_bench(hurried, dry=True, tell=lambda line: None).frame
    assert set(frame["status"]) == {"not reached"}
    assert {"ceiling", "operator", "step"} == set(frame["kind"])


def test_the_command_writes_a_table_and_its_description(small_plan, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "replication.bench.command.read_settings", lambda **_: dataclasses.replace(small_plan, minutes=1e-6)
    )
    run_command(["--out", str(tmp_path / "out"), "--dry-run", "--minutes", "1"])
    frame, about = read_files(tmp_path / "out/bench.csv")
    assert len(frame) > 5
    assert json.loads((tmp_path / "out/bench.json").read_text())["machine"] == about["machine"]
    assert "not reached" in capsys.readouterr().out


def test_the_command_refuses_an_unknown_argument_with_exit_code_2(tmp_path):
    with pytest.raises(SystemExit) as ended:
        run_command(["--out", str(tmp_path), "--fast"])
    assert ended.value.code == 2


def test_stand_ins_for_fla_on_a_gpu_are_not_called_as_published_nor_fla():
    def lacking(imports_fla, device="cuda", served="stand-ins"):
        return {form for form in FORMS if lacks_fla(form, imports_fla=imports_fla, device=device, served=served)}

    assert lacking(True) == {"published", "compiled", "fla"}
    assert lacking(False) == {"fla"}
    assert lacking(True, served="fla 0.6.0") == lacking(True, device="cpu") == set()


def test_seeds_at_once_are_trained_as_they_are_alone():
    group, alone = training("ours_x2"), training("ours", seed=2)
    alone._tokens = group._tokens
    for _ in range(2):
        assert group.step() > 0
        alone.step()
    pairs = zip(group._members[1].model.parameters(), alone._members[0].model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
