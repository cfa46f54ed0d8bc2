"""The audit of a search: its tables, its tree, and what luck may bring."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.finding import findings_document
from audit.search.audit import SearchAuditSettings, audit, methods_in_use, summary
from audit.search.evidence import (
    baseline_means,
    experiment_table,
    fitness_terms,
    outcome_table,
    rule_table,
    standing,
)
from audit.search.gains import Noise, best_of_copies, discovery_table, seed_noise, single_run_interval
from audit.search.tree import ROOT, best_line, layout
from replication.settings import InputError
from tests.audit import searches as made

CFG = SearchAuditSettings(level=0.95, shown=10, registered_plan="")


def finding(evidence, what):
    return next(found for found in audit(evidence, CFG, frozenset()) if found.id == f"search.run_1.{what}")


def test_gains_are_measured_from_the_mean_of_the_reference_and_not_of_the_strongest_baseline():
    table = experiment_table(made.search([made.experiment(0), made.experiment(1, honest_loss=2.35)]))
    assert table["gain"].tolist() == pytest.approx([0.0, 0.05])


def test_what_a_search_starts_from_is_neither_a_failure_nor_a_discovery():
    lucky = made.experiment(0, honest_loss=2.0)
    evidence = made.search([lucky, made.experiment(1, honest_loss=2.39), made.experiment(2, status="crashed")])
    assert finding(evidence, "best_gain").estimate == pytest.approx(0.01)
    assert finding(evidence, "failures").details["proposals"] == {"kept": 1, "crashed": 1}
    assert finding(evidence, "discoveries").n == 1


def test_a_run_without_fitness_is_discarded_only_where_a_rule_in_force_says_so():
    thrown = made.experiment(1, fitness={}, rules={"below_10": True})
    unmarked = made.experiment(2, fitness={}, mark=None, rules={"below_10": False})
    evidence = made.search([made.experiment(0), thrown, unmarked], in_force=("below_10",))
    assert experiment_table(evidence)["outcome"].tolist() == ["start", "discarded", "not_ranked"]
    idle = made.search([made.experiment(0), thrown, unmarked], in_force=())
    assert experiment_table(idle)["outcome"].tolist() == ["start", "not_ranked", "not_ranked"]


def test_running_best_and_pool_mean_follow_the_best_of_what_has_been():
    values = [0.4, 0.6, 0.2, 0.5]
    done = [made.experiment(n, fitness={"strict": value}) for n, value in enumerate(values)]
    table = experiment_table(made.search(done, pool=2))
    assert table["running_best"].tolist() == [0.4, 0.6, 0.6, 0.6]
    assert table["pool_mean"].tolist() == pytest.approx([0.4, 0.5, 0.5, 0.55])


def test_compute_counts_failures():
    done = [made.experiment(0), made.experiment(1, status="too_slow", device_seconds=30.0), made.experiment(2)]
    assert experiment_table(made.search(done))["compute"].tolist() == [12.0, 42.0, 54.0]


def test_terms_are_left_out_where_a_benchmark_or_a_mark_is_missing():
    done = [made.experiment(0), made.experiment(1, benchmarks={"next_token": 0.4}, mark=None)]
    terms = fitness_terms([*done, made.experiment(2, status="crashed")], made.FITNESS, made.TASKS, honest=True)
    assert terms == {0: {"loss": 0.5, "benchmark": 0.5, "judge": pytest.approx(4 / 9)}, 1: {"loss": 0.5}}


def test_strict_terms_rest_on_the_honest_loss_and_others_on_the_ordinary_one():
    leaky = made.experiment(0, loss=2.0, honest_loss=2.4)
    honest, ordinary = (fitness_terms([leaky], made.FITNESS, (), honest=flag)[0]["loss"] for flag in (True, False))
    assert honest == pytest.approx(0.5)
    assert ordinary > 0.99


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "clean"),
        ({"certified": False}, "not certified"),
        ({"certified": None}, "not run"),
        ({"looks_ahead": True}, "leaky"),
        ({"certified": False, "attempts": (made.attempt(certificate=made.LEAKY),)}, "leaky"),
    ],
)
def test_standing_is_leaky_by_certificate_or_by_run(changes, expected):
    assert standing(made.experiment(1, **changes)) == expected


def test_outcomes_count_versions_by_stage_and_every_experiment_once():
    evidence = made.search(made.proposals(80))
    table = outcome_table(evidence)
    versions, experiments = (table[table["of"] == of] for of in ("version", "experiment"))
    assert experiments["count"].sum() == 80
    assert versions["count"].sum() == sum(len(e.attempts) for e in evidence.experiments)
    assert (versions["propose"] + versions["repair"] == versions["count"]).all()


def test_a_rule_is_judged_on_clean_and_leaky_runs_apart():
    leaky = {"certified": False, "attempts": (made.attempt(certificate=made.LEAKY),)}
    done = [
        made.experiment(0, rules={"below_2": True}),
        made.experiment(1, rules={"below_2": True}),
        made.experiment(2, rules={"below_2": False}),
        made.experiment(3, rules={"below_2": True}, **leaky),
        made.experiment(4, status="crashed"),
    ]
    row = rule_table(made.search(done)).iloc[0]
    assert (row["judged"], row["thrown"], row["clean"], row["clean_thrown"]) == (3, 2, 2, 1)
    assert (row["leaky"], row["leaky_thrown"], row["in_force"]) == (1, 1, False)
    found = finding(made.search(done), "rules.below_2")
    assert (found.estimate, found.n) == (0.5, 2)


def test_an_interval_that_failed_calibration_is_not_shown():
    evidence = made.search(made.proposals(24))
    assert ("clopper_pearson", 23) in methods_in_use(evidence)
    shown = audit(evidence, CFG, frozenset({("clopper_pearson", 23)}))
    failures = next(found for found in shown if found.id.endswith("failures"))
    assert "no interval" in failures.answer


def test_seed_noise_needs_three_seeds_that_differ():
    done = [made.experiment(0)]
    known = seed_noise(made.search(done, baselines=tuple(made.baseline_runs(3, sd=0.02))))
    assert known == Noise(sd=pytest.approx(0.02), degrees=2, baselines=2)
    assert seed_noise(made.search(done, baselines=tuple(made.baseline_runs(2)))) is None
    assert seed_noise(made.search(done, baselines=tuple(made.baseline_runs(3, sd=0.0)))) is None


def test_a_single_runs_interval_covers_its_true_gain_as_often_as_it_says():
    rng, seeds, level = np.random.default_rng(3), 4, 0.9
    baselines, runs = rng.standard_normal((20_000, seeds)), rng.standard_normal(20_000)
    unit_low, unit_high = single_run_interval(0.0, Noise(sd=1.0, degrees=seeds - 1, baselines=1), seeds, level)
    gains, sds = baselines.mean(axis=1) - runs, baselines.std(axis=1, ddof=1)
    covered = (gains + unit_low * sds <= 0) & (gains + unit_high * sds >= 0)
    assert covered.mean() == pytest.approx(level, abs=0.01)


def test_the_best_of_many_copies_passes_the_limit_of_luck_as_seldom_as_it_says():
    rng, seeds, copies = np.random.default_rng(4), 3, 15
    baselines, runs = rng.standard_normal((20_000, seeds)), rng.standard_normal((20_000, copies))
    gains, sds = baselines.mean(axis=1) - runs.min(axis=1), baselines.std(axis=1, ddof=1)
    noise = Noise(sd=1.0, degrees=seeds - 1, baselines=1)
    luck = best_of_copies(2.0, copies, noise, seeds, 0.95)
    assert (gains > luck.limit * sds).mean() == pytest.approx(0.05, abs=0.006)
    assert luck.p_value == pytest.approx((gains >= 2.0 * sds).mean(), abs=0.015)
    assert luck == best_of_copies(2.0, copies, noise, seeds, 0.95)


def test_a_search_of_copies_is_called_luck_and_a_large_gain_is_called_worth_a_rerun():
    copies = [made.experiment(n, honest_loss=2.4 - 0.005 * math.sin(n)) for n in range(12)]
    evidence = made.search(copies)
    assert "no more than luck" in summary(evidence, audit(evidence, CFG, frozenset()))[0]
    evidence = made.search([*copies, made.experiment(12, honest_loss=1.9)])
    assert "worth a rerun" in summary(evidence, audit(evidence, CFG, frozenset()))[0]
    evidence = made.search([made.experiment(n, honest_loss=2.5) for n in range(3)])
    assert "No kept run came out below" in summary(evidence, audit(evidence, CFG, frozenset()))[0]


def test_the_verdict_says_where_the_strongest_baseline_is_not_reached():
    found = [made.search([made.experiment(0), made.experiment(1, honest_loss=loss)]) for loss in (2.39, 2.37)]
    behind, ahead = (summary(evidence, audit(evidence, CFG, frozenset()))[0] for evidence in found)
    assert behind.endswith("It does not reach the strongest baseline, gated_delta_net.")
    assert "strongest" not in ahead


def test_the_answer_says_where_the_fitness_does_not_see_the_losses_it_should_rank():
    done = [
        made.experiment(0),
        made.experiment(1, honest_loss=2.1, fitness={"strict": 0.9}),
        made.experiment(2, honest_loss=2.0, fitness={"strict": 0.8}),
        made.experiment(3, honest_loss=2.3, fitness={"strict": 0.7}),
    ]
    found = finding(made.search(done), "best_gain")
    assert (found.details["rank_by_fitness"], found.details["beyond_the_window"]) == (2, 2)
    assert "By fitness it is number 2. 2 of the 3 gain more than 10%" in found.answer
    within = finding(made.search(done, window=0.5), "best_gain")
    assert "gain more than" not in within.answer


def test_that_the_certificate_keeps_the_certified_is_no_measurement():
    done = [made.experiment(0), *(made.experiment(n, rules={"certificate": False}) for n in (1, 2))]
    found = finding(made.search(done), "rules.certificate")
    assert found.interval is None
    assert "by definition" in found.answer


def test_discoveries_under_both_definitions_and_by_luck():
    losses = [2.0, 2.39, 2.41, 2.395, 2.38]  # the first is the start
    table = discovery_table(made.search([made.experiment(n, honest_loss=loss) for n, loss in enumerate(losses)]))
    assert table["beats_baseline"].tolist() == [0, 1, 1, 2, 3]
    assert table["best_so_far"].tolist() == [0, 1, 1, 1, 2]
    draws = np.random.default_rng(5).standard_normal((40_000, 4))
    records = (draws > np.maximum.accumulate(np.c_[np.zeros(len(draws)), draws], axis=1)[:, :-1]).sum(axis=1)
    assert table["best_so_far_by_luck"].iloc[-1] == pytest.approx(records.mean(), abs=0.02)
    assert table["beats_baseline_by_luck"].iloc[-1] == 2.0


@pytest.mark.parametrize(
    "experiments",
    [
        [],
        [made.experiment(0)],
        [made.experiment(0, status="crashed")],
        [made.experiment(0), made.experiment(1, status="rejected", device_seconds=0.0)],
        made.proposals(24),
    ],
    ids=["none", "one", "one_failed", "no_proposal_kept", "many"],
)
@pytest.mark.parametrize("seeds", [1, 3])
def test_every_finding_is_measured_and_fits_the_schema(experiments, seeds):
    evidence = made.search(experiments, baselines=tuple(made.baseline_runs(seeds)))
    findings = audit(evidence, CFG, frozenset())
    document = findings_document("discover", findings)
    assert {entry["verdict"] for entry in document["findings"]} <= {"measured"}
    assert "NaN" not in json.dumps(document)
    assert summary(evidence, findings)


def test_a_reference_that_was_not_run_is_refused_by_name():
    with pytest.raises(InputError, match="reference: 'mamba2' is none of the baselines"):
        made.search([], reference="mamba2")


def test_baselines_are_averaged_over_their_seeds():
    means = baseline_means(made.search([], baselines=tuple(made.baseline_runs(5, sd=0.01))))
    assert means.loc["delta_net", "honest_loss"] == pytest.approx(2.40)
    assert means.loc["gated_delta_net", "seeds"] == 5


@given(st.lists(st.tuples(st.integers(-1, 40), st.none() | st.floats(0, 1)), min_size=1, max_size=40))
def test_no_line_of_the_tree_runs_through_another_experiment(drawn):
    table = pd.DataFrame(
        {"number": n, "parent": parent if 0 <= parent < n else math.nan, "fitness": fitness}
        for n, (parent, fitness) in enumerate(drawn)
    ).astype("float64")
    placed = layout(table)
    parents, rows = placed["parent"], placed["row"]
    leaves = set(placed.index) - set(parents.dropna().astype(int))
    assert sorted(rows[list(leaves)]) == list(range(len(leaves)))
    for number in placed.index.drop(ROOT):
        parent = parents[number]
        assert rows[parent] <= rows[number]
        between = placed[(placed.index > parent) & (placed.index < number)]
        assert (between["row"] != rows[number]).all()


def test_the_best_line_goes_from_the_start_to_the_fittest():
    table = pd.DataFrame({"number": [0, 1, 2, 3], "parent": [math.nan, 0, 1, 0], "fitness": [0.1, 0.2, 0.9, 0.3]})
    assert best_line(table, layout(table)) == [0, 1, 2]
    assert best_line(table.assign(fitness=math.nan), layout(table)) == []


def test_a_parent_that_does_not_come_before_its_child_counts_as_none():
    table = pd.DataFrame({"number": [0, 1], "parent": [1, 7], "fitness": [0.1, 0.2]})
    assert layout(table).loc[[0, 1], "parent"].tolist() == [ROOT, ROOT]


def test_settings_out_of_range_are_named():
    with pytest.raises(InputError, match=r"audit\.level"):
        dataclasses.replace(CFG, level=95)
