"""The mixed-model cross-check: agrees with paired means, and reports a bad fit instead of raising."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from audit.statistics.mixed import mixed_model


def _frame(seed_sd: float, noise_sd: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    seeds = seed_sd * rng.normal(size=6)
    rows = [
        {"candidate": arm, "scale": scale, "seed": seed, "loss": level + seeds[seed] + noise_sd * rng.normal()}
        for (arm, level), scale, seed in product({"base": 3.0, "x": 2.9, "y": 3.2}.items(), ["s", "l"], range(6))
    ]
    return pd.DataFrame(rows)


def test_contrasts_of_complete_runs_are_the_paired_mean_differences() -> None:
    frame = _frame(0.1, 0.02)
    model = mixed_model(frame, ["base"])
    assert model.converged
    assert {(c.candidate, c.scale) for c in model.contrasts} == set(product("xy", "sl"))
    means = frame.groupby(["candidate", "scale"])["loss"].mean()
    for contrast in model.contrasts:
        expected = means[contrast.candidate, contrast.scale] - means["base", contrast.scale]
        assert contrast.estimate == pytest.approx(expected, abs=1e-8)
        assert contrast.standard_error == pytest.approx(model.residual_sd * np.sqrt(2 / 6), rel=1e-4)
    assert model.seed_sd == pytest.approx(0.1, rel=0.6)
    assert model.residual_sd == pytest.approx(0.02, rel=0.4)


def test_seeds_without_effect_put_the_fit_on_its_boundary_without_an_exception() -> None:
    frame = _frame(0.0, 0.02)
    frame["loss"] -= frame.groupby("seed")["loss"].transform("mean")
    model = mixed_model(frame, ["base"])
    assert not model.converged
    assert model.status.split(":")[0] in {"boundary", "not converged", "not fitted"}
    assert len(model.contrasts) == 4


@pytest.mark.parametrize("spoil", ["one seed", "equal losses"])
def test_data_that_hold_no_such_model_give_a_status_and_nan(spoil: str) -> None:
    frame = _frame(0.1, 0.02)
    if spoil == "one seed":
        frame = frame[frame["seed"] == 0]
    else:
        frame["loss"] = 1.0
    model = mixed_model(frame, ["base"])
    assert model.status.startswith("not fitted")
    assert np.isnan([contrast.estimate for contrast in model.contrasts]).all()


def test_failed_runs_are_counted_and_an_arm_without_runs_has_no_contrast() -> None:
    frame = _frame(0.1, 0.02)
    frame.loc[frame["candidate"] == "y", "loss"] = np.nan
    model = mixed_model(frame, ["base"])
    assert (model.rows, model.rows_without_loss) == (24, 12)
    assert {contrast.candidate for contrast in model.contrasts} == {"x"}
