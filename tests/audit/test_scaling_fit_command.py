"""`python -m audit scaling_fit`: from a table of losses to a report, and one line where the table is wrong."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from audit.manifest import plan_sha256
from audit.scaling_law.command import ScalingFitSettings, run_scaling_fit
from audit.scaling_law.curves import CurveSettings, fit_curves
from audit.scaling_law.runs_table import read_losses, read_scale_runs
from replication.configure import compose
from replication.settings import InputError, typed


def table(arms, seeds=3, scales=5):
    rng = np.random.default_rng(2)
    rows = [
        {
            "arm": name,
            "tokens": 2e4 * 2.0**scale,
            "loss": (e + 300.0 / (2e4 * 2.0**scale) ** 0.45) * math.exp(0.005 * z),
        }
        for name, e in arms.items()
        for scale in range(scales)
        for z in rng.standard_normal(seeds)
    ]
    return pd.DataFrame(rows)


def written(folder, frame, name="runs.csv"):
    frame.to_csv(folder / name, index=False)
    return str(folder / name)


def fitted(folder, *overrides):
    run_scaling_fit([*overrides, "audit.resamples=100", f"paths.results={folder}/results"])
    latest = folder / "results" / "scaling_fit" / "latest"
    return json.loads((latest / "findings.json").read_text())["findings"], latest


def test_two_arms_give_exponents_a_difference_and_a_report(tmp_path, capsys):
    file = written(tmp_path, table({"old": 1.3, "new": 1.0}))
    findings, latest = fitted(tmp_path, file, "at.tokens=1e6")
    assert [found["id"] for found in findings] == [
        "scaling_fit.runs.old.beta",
        "scaling_fit.runs.new.beta",
        "scaling_fit.runs.difference",
    ]
    low, high = findings[0]["interval"]
    assert low < 0.45 < high
    assert findings[2]["details"]["outcome"] == "higher"
    assert findings[2]["details"]["beyond_the_runs"]
    assert {path.name for path in (latest / "tables").iterdir()} == {
        "calibration.csv", "parameters.csv", "runs.csv", "sensitivity.csv",
    }  # fmt: skip
    assert "lack of fit" in (latest / "report.html").read_text()
    said = capsys.readouterr().out
    assert "beta" in said
    assert "report: " in said


def test_the_same_table_gives_the_same_findings(tmp_path):
    file = written(tmp_path, table({"old": 1.3}))
    (tmp_path / "again").mkdir()
    first, _ = fitted(tmp_path, file)
    second, _ = fitted(tmp_path / "again", f"data={file}")
    assert first == second


def test_three_sizes_are_warned_about(tmp_path, capsys):
    findings, _ = fitted(tmp_path, written(tmp_path, table({"old": 1.3}, scales=3)))
    assert findings[0]["details"]["outcome"] == "not identified"
    assert "3 different sizes for 3 parameters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="loss"), "column loss is missing"),
        (lambda frame: frame.drop(columns="tokens"), "parameters or tokens is needed"),
        (
            lambda frame: frame.assign(loss=frame["loss"].astype(str).where(frame.index != 3, "much")),
            "row 4, column loss",
        ),
        (lambda frame: frame.assign(tokens=frame["tokens"].where(frame.index != 0, -1.0)), "row 1, column tokens"),
        (lambda frame: frame.assign(arm=frame["arm"].where(frame.index != 2, " ")), "row 3, column arm: is empty"),
        (lambda frame: frame.head(0), "there are no rows"),
        (lambda frame: frame.head(3), "arm old has 3 runs"),
    ],
)
def test_a_wrong_table_ends_in_one_line_that_names_the_place(tmp_path, change, message):
    file = written(tmp_path, change(table({"old": 1.3})))
    with pytest.raises(InputError, match=message) as refused:
        fitted(tmp_path, file)
    assert "runs.csv" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_file_and_no_file_end_in_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot|can be read"):
        fitted(tmp_path, str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="name a CSV file"):
        fitted(tmp_path)


def test_the_plan_is_as_registered():
    settings = typed(ScalingFitSettings, compose("scaling_fit", []), "").audit
    assert plan_sha256(settings.plan) == settings.registered_plan


def test_runs_of_a_rerun_are_read_with_their_failures(tmp_path):
    frame = pd.DataFrame(
        {
            "name": "new", "role": "candidate", "scale": "s", "seed": [1, 2], "parameters": 10.0,
            "tokens": 20.0, "honest_loss": ["2.5", ""],
        }
    )  # fmt: skip
    runs = read_scale_runs(tmp_path / written(tmp_path, frame))
    assert runs["honest_loss"].tolist()[0] == 2.5
    assert math.isnan(runs["honest_loss"].tolist()[1])
    with pytest.raises(InputError, match="column role is missing"):
        read_scale_runs(tmp_path / written(tmp_path, frame.drop(columns="role")))


def test_columns_of_groups_and_both_sizes_are_read(tmp_path):
    frame = pd.DataFrame({"loss": [2.0, 1.9], "parameters": [1, 2], "tokens": [3, 4], "group": ["a", "b"], "note": "x"})
    read = read_losses(tmp_path / written(tmp_path, frame))
    assert list(read.columns) == ["loss", "parameters", "tokens", "arm", "group"]
    assert set(read["arm"]) == {"all"}


def test_groups_too_few_for_an_interval_are_refused():
    table = pd.DataFrame({"loss": 2 + np.geomspace(1, 0.1, 12), "tokens": np.geomspace(1e5, 1e7, 12)})
    table = table.assign(arm="a", group=["one", "two"] * 6)
    cfg = CurveSettings(delta=1e-3, level=0.95, resamples=100, random_seed=1, registered_plan="")
    with pytest.raises(InputError, match="arm a has 2 groups; intervals need 4"):
        fit_curves(table, cfg, "runs.csv")
