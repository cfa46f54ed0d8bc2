"""Whole searches of two arms, and their claims again on fresh seeds, at a tiny scale."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from audit.interventions.outcomes import best_of, check_tables, claims_of
from audit.interventions.plan import ConfirmSettings, InterventionSettings
from audit.interventions.reference import read_interventions, write_interventions
from audit.interventions.run import run_interventions
from replication.configure import compose, configure
from replication.settings import InputError, typed
from tests.loop.searches import TINY, write_texts


@pytest.fixture
def bench(tmp_path):
    certificate = ["certificate.lengths=[1,33,64]", "certificate.layers=[0]", "honest.positions=16"]
    return configure([*certificate, f"paths.results='{tmp_path}'"]).bench


def plan(tmp_path, **changes):
    settings = typed(InterventionSettings, compose("audit_threshold", [])["interventions"], "interventions")
    texts = write_texts(tmp_path / "texts")
    search = (*TINY, "scale=smoke", "tracks.recall=null", f"corpus.paths=['{texts}/*.txt']", "discard.over_steps=5")
    search = tuple(one for one in search if not one.startswith("scale.recall") and one != "scale=[smoke,recall]")
    values = {
        "seeds": 2,
        "experiments": 3,
        "search": search,
        "arms": {"full": (), "no_rule": ("discard=off",)},
        "rules": ("full",),
        "confirm": ConfirmSettings(seeds=2, first_seed=1000, false_discovery_rate=0.05),
    }
    return dataclasses.replace(settings, **(values | changes))


def test_every_search_is_run_once_and_its_claims_and_best_again_on_fresh_seeds(tmp_path, bench, monkeypatch):
    settings = plan(tmp_path)
    measured = run_interventions(settings, bench)
    experiments, confirmations = measured.experiments, measured.confirmations
    check_tables(experiments, confirmations)
    assert experiments.groupby(["arm", "seed"]).size().to_dict() == {
        (arm, seed): 3 for arm in ("full", "no_rule") for seed in range(2)
    }
    again = {*claims_of(experiments)["candidate"], *best_of(experiments)["candidate"]}
    rerun = confirmations[confirmations["baseline"] == ""]
    assert set(rerun["candidate"]) == again
    assert set(confirmations["baseline"]) == {"", "delta_net", "gated_delta_net"}
    assert set(confirmations["seed"]) == {1000, 1001}

    write_interventions(tmp_path / "kept", measured, {})
    kept = read_interventions(tmp_path / "kept").measured
    pd.testing.assert_frame_equal(kept.confirmations, confirmations, check_dtype=False)

    def nothing_new(*_):
        raise AssertionError("a finished run was measured again")

    monkeypatch.setattr("replication.measure.Bench.measure", nothing_new)
    pd.testing.assert_frame_equal(run_interventions(settings, bench).experiments, experiments)


def test_fresh_seeds_that_searches_may_draw_are_refused_before_anything_runs(tmp_path, bench):
    settings = plan(tmp_path, confirm=ConfirmSettings(seeds=2, first_seed=10, false_discovery_rate=0.05))
    with pytest.raises(InputError, match=r"interventions\.confirm\.first_seed"):
        run_interventions(settings, bench)
    assert not (tmp_path / "discover").exists()
