"""Checks of claims on fitness, judge and baseline, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from audit.claims.fitness import nodes_that_can_beat
from audit.sheets import Sheet
from loop.fitness import FitnessSettings, benchmark_term, gain_term, judge_term, loss_term, score
from tests.audit.claim_tables import FITNESS, ask, search_tree, sheet


def figure6(shift: float = 0.0, window: float = 0.10, n: int = 30) -> Sheet:
    settings = FitnessSettings(**{**vars(FITNESS), "window": window})
    loss, benchmark = np.linspace(4.5, 4.3, n), np.linspace(0.226, 0.24, n)
    terms = {
        "agent": np.linspace(0.5, 0.7, n),
        "benchmark_component": benchmark_term(benchmark, settings),
        "loss_component": loss_term(loss, settings),
    }
    total = np.mean(list(terms.values()), axis=0) + shift
    columns = {**terms, "total_score": total, "raw_loss": loss, "raw_benchmark": benchmark}
    text = {name: [f"{value:.4f}" for value in values] for name, values in columns.items()}
    return sheet("figure6", cumulative_samples=[str(200 + 50 * i) for i in range(n)], **text)


MEAN = {"total": "total_score", "terms": ["agent", "benchmark_component", "loss_component"], "score": "score"}


def test_a_total_that_is_the_mean_of_its_terms_is_supported_by_scores_that_are_means_too():
    tree = search_tree(40, 10, 3, 0)
    means = Sheet("tree", "tree.csv", tree.cells.assign(score=tree.numbers("score") / 3.0))
    assert ask("mean_of_terms", MEAN, figure6(), means).verdict == "supported"
    outcome = ask("mean_of_terms", MEAN, figure6(), tree)
    assert outcome.verdict == "inconclusive"
    assert outcome.details["scores"] == "a sum, not a mean"
    assert ask("mean_of_terms", MEAN, figure6(shift=0.001), tree).verdict == "contradicted"


WINDOW = {
    "loss": "raw_loss",
    "loss_term": "loss_component",
    "benchmark": "raw_benchmark",
    "benchmark_term": "benchmark_component",
    "from_gain": 0.02,
    "fitness": vars(FITNESS),
}


@pytest.mark.parametrize(
    ("window", "verdict"), [(0.1001, "inconclusive"), (0.08, "contradicted"), (0.15, "inconclusive")]
)
def test_the_window_is_read_off_curves_and_terms(window, verdict):
    outcome = ask("fitness_window", WINDOW, figure6(window=window), sesoi=0.01)
    assert outcome.verdict == verdict
    assert outcome.estimate == pytest.approx(window, rel=0.01)


ANCHOR = {"root": "Root", "stated": 5.0, "loss": "4.5000", "benchmark": "0.2300000", "grid": 0.05}


@pytest.mark.parametrize(("mark", "verdict"), [(5.0, "supported"), (7.05, "contradicted"), (7.03, "inconclusive")])
def test_the_mark_of_the_root_is_recovered_from_its_score(mark, verdict):
    value = float(score(4.5, 0.23, mark, FITNESS))
    tree = sheet("tree", index=[1, 2], parent=[None, 1], score=[value, 1.0], name_new=["Root", "Root"])
    outcome = ask("judge_anchor", {**ANCHOR, "fitness": vars(FITNESS), "source": ""}, tree, sesoi=1.0)
    assert outcome.verdict == verdict
    elsewhere = {**ANCHOR, "fitness": vars(FITNESS), "source": "a file of another release"}
    assert ask("judge_anchor", elsewhere, tree, sesoi=1.0).verdict == "inconclusive"
    assert outcome.estimate == pytest.approx(mark, abs=1e-9)


def test_scores_beyond_three_full_terms_break_the_judges_range():
    parameters = {"table": "table2", "name": "name", "loss": "loss", "agent": "agent", "fitness": vars(FITNESS)}
    table = sheet("table2", name=["net a", "net b"], loss=["4.4", "4.3"])
    for excess, verdict in ((0.0, "inconclusive"), (1.2, "contradicted")):
        scores = [float(loss_term(loss, FITNESS)) + 1.0 + excess for loss in (4.4, 4.3)]
        gallery = sheet("gallery", name_new=["net_a", "net_b"], score=scores)
        assert ask("judge_range", parameters, table, gallery, figure6()).verdict == verdict


def test_programs_that_share_a_name_are_not_joined():
    parameters = {"table": "table2", "name": "name", "loss": "loss", "agent": "agent", "fitness": vars(FITNESS)}
    table = sheet("table2", name=["net a", "net b"], loss=["4.4", "4.3"])
    gallery = sheet("gallery", name_new=["net_a", "net a", "net_b"], score=[9.0, 1.5, 1.5])
    assert ask("judge_range", parameters, table, gallery, figure6()).n == 1


def test_bounds_on_nodes_that_beat_the_baseline_hold_for_every_judge_and_result():
    rng = np.random.default_rng(5)
    losses, marks = rng.uniform(4.0, 5.1, 3000), rng.uniform(1.0, 10.0, 3000)
    benchmarks = rng.uniform(0.2, 0.25, 3000)
    beats = (losses < FITNESS.baseline_loss) & (benchmarks > FITNESS.baseline_benchmark)
    least, most = nodes_that_can_beat(score(losses, benchmarks, marks, FITNESS), FITNESS)
    assert 0 < least <= beats.sum() <= most < 3000
    best_failure = 0.5 + float(gain_term(1.0, FITNESS)) + float(judge_term(10.0, FITNESS))
    assert nodes_that_can_beat(np.array([best_failure, best_failure + 1e-9]), FITNESS) == (1, 2)


BASELINE = {"table": "table2", "name": "name", "loss": "loss", "baseline": "Delta", "others": ["Gated"]}


@pytest.mark.parametrize(
    ("own", "other", "verdict"), [("4.5749", "4.56", "supported"), ("4.50", "4.575", "contradicted")]
)
def test_the_constant_of_the_fitness_tells_the_baseline(own, other, verdict):
    table = sheet("table2", name=["Delta", "Gated"], loss=[own, other])
    assert ask("baseline_constant", {**BASELINE, "fitness": vars(FITNESS)}, table, sesoi=0.001).verdict == verdict


def test_a_model_beyond_the_threshold_contradicts_and_none_beyond_settles_nothing():
    parameters = {**BASELINE, "threshold": 0.1}
    table = sheet("table2", name=["Delta", "Gated", "a", "b"], loss=["4.0", "3.0", "3.9", "3.61"])
    assert ask("none_beyond", parameters, table).verdict == "inconclusive"
    table.cells.loc[4, "loss"] = "3.59"
    assert ask("none_beyond", parameters, table).verdict == "contradicted"


def test_the_sigmoid_magnifies_small_gains_and_their_noise():
    outcome = ask("sigmoid_shape", {"small": 0.1, "large": 1.0, "items": 1000, "fitness": vars(FITNESS)})
    assert outcome.verdict == "supported"
    assert outcome.estimate == pytest.approx((float(gain_term(0.01, FITNESS)) - 0.5) / 0.05)
