"""Curves of arms and what they say beyond the runs: an advantage that lasts, one that does not, an open one."""

import math

import numpy as np
import pandas as pd
import pytest

from audit.finding import findings_document
from audit.scaling_law.extrapolation import (
    BEYOND,
    ExtrapolationSettings,
    advantage_figure,
    advantage_findings,
    advantage_table,
    arm_curves,
    curve_table,
)
from audit.scaling_law.runs_table import read_scale_runs
from replication.settings import InputError, typed

SETTINGS = ExtrapolationSettings(delta=1e-3, factor=4.0, level=0.95, resamples=100)
NOTHING = frozenset()


def arm(name, role, values, scales=5, seeds=4, noise=0.002):
    """Runs of one arm with loss E + B / tokens^beta; noise is shared by arms, as paired seeds share it."""
    rng = np.random.default_rng(1)
    rows = []
    for scale in range(scales):
        for seed in range(seeds):
            tokens = 2e4 * 2.0**scale
            loss = (values[0] + values[1] / tokens ** values[2]) * math.exp(noise * rng.standard_normal())
            rows.append((name, role, f"tokens-{scale}", seed, 1e5, tokens, loss))
    return rows


def curves(*arms):
    columns = ["name", "role", "scale", "seed", "parameters", "tokens", "honest_loss"]
    runs = pd.DataFrame([row for rows in arms for row in rows], columns=columns)
    return arm_curves(runs, SETTINGS, np.random.default_rng(3))


BASELINE = arm("old", "baseline", (1.3, 300.0, 0.45))


def test_an_advantage_in_the_floor_survives():
    (finding,) = advantage_findings(
        curves(BASELINE, arm("new", "candidate", (1.1, 300.0, 0.45))), "toy", SETTINGS, NOTHING
    )
    assert finding.id == "law.toy.advantage.new"
    assert finding.details["outcome"] == "ahead"
    assert finding.estimate == pytest.approx(0.2, abs=0.02)
    assert finding.interval[0] > 0
    assert "still ahead" in finding.answer
    assert "320 000" in finding.answer.replace("\u202f", " ")
    assert findings_document("audit_scaling", [finding])


def test_a_head_start_that_ends_is_behind_beyond():
    (finding,) = advantage_findings(
        curves(BASELINE, arm("quick", "candidate", (1.75, 120.0, 0.45))), "toy", SETTINGS, NOTHING
    )
    assert finding.details["outcome"] == "behind"
    assert finding.interval[1] < 0


def test_an_equal_program_is_open():
    other = [(*row[:-1], row[-1] * (1.0 + 0.002 * (-1) ** place)) for place, row in enumerate(BASELINE)]
    same = [("copy", "candidate", *row[2:]) for row in other]
    (finding,) = advantage_findings(curves(BASELINE, same), "toy", SETTINGS, NOTHING)
    assert finding.details["outcome"] == "open"


def test_pairs_share_what_their_seeds_share():
    """With the same noise in both arms the difference is known far better than either curve."""
    old, new = curves(BASELINE, arm("new", "candidate", (1.3, 300.0, 0.45)))
    row = advantage_table([old, new], SETTINGS, NOTHING).iloc[0]
    assert (row["low_beyond"], row["high_beyond"]) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_the_strongest_baseline_is_the_one_that_counts():
    strong = arm("strong", "baseline", (1.0, 300.0, 0.45))
    (finding,) = advantage_findings(
        curves(BASELINE, strong, arm("new", "candidate", (1.1, 300.0, 0.45))), "toy", SETTINGS, NOTHING
    )
    assert finding.details["strongest_baseline"] == "strong"
    assert finding.details["outcome"] == "behind"
    assert [row["baseline"] for row in finding.details["against"]] == ["old", "strong"]


def test_three_scales_are_not_enough_and_give_no_number():
    (finding,) = advantage_findings(
        curves(BASELINE, arm("new", "candidate", (1.1, 300.0, 0.45), scales=3)), "toy", SETTINGS, NOTHING
    )
    assert finding.details["outcome"] == "not identified"
    assert "3 different sizes for 3 parameters" in finding.answer
    assert finding.estimate is None
    assert finding.interval is None


def test_failed_runs_are_left_out_and_said():
    rows = arm("new", "candidate", (1.1, 300.0, 0.45))
    rows[0] = (*rows[0][:-1], math.nan)
    found = curves(BASELINE, rows)
    (finding,) = advantage_findings(found, "toy", SETTINGS, NOTHING)
    assert finding.details["failed_runs"] == {"new": 1, "old": 0}
    assert "1 run of new failed" in finding.answer
    assert set(curve_table(found).query("arm == 'new'")["runs"]) == {19}


def test_a_withheld_interval_is_not_shown_and_decides_nothing():
    found = curves(BASELINE, arm("new", "candidate", (1.1, 300.0, 0.45)))
    (finding,) = advantage_findings(found, "toy", SETTINGS, frozenset({(BEYOND, 20)}))
    assert finding.details["outcome"] == "no interval"
    assert not any(map(math.isfinite, finding.interval))


def test_a_form_that_does_not_fit_is_said():
    rows = [(*row[:-1], row[-1] * (0.9 if row[5] > 1e5 else 1.0)) for row in BASELINE]
    bent = [("bent", "candidate", *row[2:]) for row in rows]
    (finding,) = advantage_findings(curves(BASELINE, bent), "toy", SETTINGS, NOTHING)
    assert "The form does not fit the runs of bent" in finding.answer


def test_the_figure_names_its_axes_and_draws_arms_without_curves():
    found = curves(
        BASELINE, arm("new", "candidate", (1.1, 300.0, 0.45)), arm("short", "candidate", (1.1, 300, 0.45), scales=2)
    )
    figure = advantage_figure(found, SETTINGS)
    losses, advantages = figure.axes
    assert "nats per token" in losses.get_ylabel()
    assert advantages.get_xlabel() == "training tokens (log scale)"
    assert [text.get_text() for text in losses.get_legend().get_texts()] == ["old", "new"]


@pytest.mark.parametrize(("name", "value"), [("delta", 0.0), ("factor", 1.0), ("level", 95.0), ("resamples", 10)])
def test_settings_out_of_range_are_named(name, value):
    settings = {"delta": 1e-3, "factor": 4.0, "level": 0.95, "resamples": 100, name: value}
    with pytest.raises(InputError, match=f"extrapolation.{name}"):
        typed(ExtrapolationSettings, settings, "audit.extrapolation")


def test_a_table_of_failures_alone_gives_no_number(tmp_path):
    arms = (("a", "baseline"), ("b", "candidate"))
    rows = [f"{name},{role},s{i},0,10,{i + 1}0,\n" for name, role in arms for i in range(6)]
    (tmp_path / "runs.csv").write_text("name,role,scale,seed,parameters,tokens,honest_loss\n" + "".join(rows))
    found = arm_curves(read_scale_runs(tmp_path / "runs.csv"), SETTINGS, np.random.default_rng(0))
    (finding,) = advantage_findings(found, "made", SETTINGS, frozenset())
    assert (finding.estimate, finding.details["outcome"]) == (None, "not identified")
