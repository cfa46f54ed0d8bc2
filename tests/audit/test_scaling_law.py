"""From a search's course to its laws, its records and what stands after noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from audit.scaling_law.certainty import certain_discoveries
from audit.scaling_law.course import BASELINE, RECORD, Course, Noise, batch_counts, better, process
from audit.scaling_law.law_findings import law_findings
from audit.scaling_law.laws import methods_in_use
from audit.scaling_law.outcome_findings import outcome_findings
from audit.scaling_law.page import draw, tables, verdict
from audit.scaling_law.plan import ScalingLawSettings
from audit.scaling_law.quality import quality, running_mean_of_best
from audit.scaling_law.study import Study, study
from audit.statistics.records import record_flags
from replication.configure import compose
from replication.settings import InputError, typed

FEW = ("audit.resamples=200", "audit.draws=200", "audit.refits=99")


def settings(*overrides: str) -> ScalingLawSettings:
    return typed(ScalingLawSettings, compose("audit_scaling", [*FEW, *overrides])["audit"], "audit")


def course(
    values: np.ndarray, *, noise: Noise | None = None, end: float | None = None, baseline: float = 0.0
) -> Course:
    """Outcomes in order, the larger the better, each of compute 1."""
    experiments = pd.DataFrame({"number": np.arange(len(values)), "value": values})
    experiments["compute"] = np.arange(1.0, len(values) + 1.0)
    experiments[BASELINE] = better(values, baseline, larger_is_better=True) & (experiments["number"] > 0)
    experiments[RECORD] = record_flags(values, larger_is_better=True)
    below = process(experiments, BASELINE, "above the baseline")
    total = float(len(values)) if end is None else end
    return Course(
        name="made", title="Made", experiments=experiments,
        processes=(below, process(experiments, RECORD, "above every one before")),
        end=total, unit="experiments", measured=False, compute_words="Counted.", measure="score", larger_is_better=True,
        baseline=baseline, noise=noise, batches=batch_counts(below.times, total, 16), published=False, notes="",
    )  # fmt: skip


def noise_around_zero(n: int, share: float, seed: int = 0) -> np.ndarray:
    """Outcomes of which about `share` are above 0, in random order."""
    return np.random.default_rng(seed).normal(size=n) + float(
        np.quantile(np.random.default_rng(1).normal(size=9999), share)
    )


def by_kind(one: Study, cfg: ScalingLawSettings) -> dict[str, object]:
    found = [*law_findings(one, cfg), *outcome_findings(one, cfg)]
    return {finding.id.rpartition(".")[2]: finding for finding in found}


def test_every_finding_of_the_law_is_measured_and_answers_no_claim():
    cfg = settings()
    found = by_kind(study(course(noise_around_zero(400, 0.2)), cfg, frozenset()), cfg)
    assert set(found) == {
        "exponent", "best_model", "line_r2", "dispersion", "prediction", "phases", "records", "quality",
    }  # fmt: skip
    assert all(finding.verdict == "measured" and finding.claim is None for finding in found.values())


def test_a_search_without_learning_has_an_exponent_near_one_and_a_constant_rate_that_is_not_beaten():
    cfg = settings()
    found = by_kind(study(course(noise_around_zero(2000, 0.2)), cfg, frozenset()), cfg)
    low, high = found["exponent"].interval
    assert low < 1.0 < high
    assert found["best_model"].details["aic"]["constant"] < 4.0
    assert found["records"].details["outcome"] == "as_random_order"
    assert found["quality"].details["outcome"] == "later_outcomes_are_not_shown_to_differ"


def test_where_the_power_law_is_rejected_the_answer_says_so():
    values = np.full(600, -1.0)
    values[200:230] = values[520:560] = 1.0
    cfg = settings()
    finding = by_kind(study(course(values), cfg, frozenset()), cfg)["exponent"]
    assert finding.details["outcome"] == "power_law_rejected"
    assert "does not describe this run" in finding.answer


def test_a_search_that_learns_has_better_later_outcomes():
    values = np.random.default_rng(3).normal(size=300) + np.linspace(0.0, 2.0, 300)
    cfg = settings()
    found = by_kind(study(course(values, baseline=2.5), cfg, frozenset()), cfg)["quality"]
    assert found.details["outcome"] == "later_outcomes_are_better"
    assert found.estimate == pytest.approx(values[150:].mean() - values[:150].mean())


def test_a_withheld_interval_is_not_shown_anywhere():
    cfg, made = settings(), course(noise_around_zero(400, 0.2))
    n = len(made.headline.times)
    open_, closed = (study(made, cfg, withheld) for withheld in (frozenset(), frozenset({("power_law", n)})))
    finding = by_kind(closed, cfg)["exponent"]
    assert np.isnan(finding.interval).all()
    assert finding.estimate == pytest.approx(open_.first.power.exponent.estimate)
    assert np.isnan(tables([closed], cfg)["exponents"].query("events == @n")["low"].item())
    assert ("power_law", n) in methods_in_use([made], cfg)


def test_too_few_discoveries_bring_no_finding_on_the_law():
    cfg = settings()
    one = study(course(np.r_[0.0, np.ones(3), np.full(50, -1.0)]), cfg, frozenset())
    assert one.first is None
    assert law_findings(one, cfg) == []


def test_discoveries_that_nearly_every_experiment_makes_are_called_so():
    cfg = settings()
    answer = by_kind(study(course(noise_around_zero(200, 0.9)), cfg, frozenset()), cfg)["exponent"].answer
    assert "Nearly every experiment counts" in answer


def test_the_same_course_gives_the_same_findings():
    cfg = settings()
    made = course(noise_around_zero(200, 0.3))
    first, second = (by_kind(study(made, cfg, frozenset()), cfg) for _ in range(2))
    assert {name: (f.answer, f.estimate, f.p_value) for name, f in first.items()} == {
        name: (f.answer, f.estimate, f.p_value) for name, f in second.items()
    }


def test_fewer_discoveries_stand_the_noisier_a_run_is():
    cfg = settings()
    made = course(noise_around_zero(300, 0.5))
    table = certain_discoveries(made, cfg, np.random.default_rng(0))
    stand = table[table["definition"] == "baseline"].sort_values("noise_sd")["discoveries"].tolist()
    assert stand == sorted(stand, reverse=True)
    assert stand[0] > stand[-1]


def test_measured_noise_stands_beside_assumed_noise_and_counts_its_few_seeds():
    cfg = settings()
    made = course(noise_around_zero(300, 0.5))
    known, unsure = (
        certain_discoveries(
            replace(made, noise=Noise(sd=0.3, degrees=degrees, seeds=3, origin="")), cfg, np.random.default_rng(0)
        ).query("measured and definition == 'baseline'")["discoveries"].item()
        for degrees in (1000.0, 2.0)
    )  # fmt: skip
    assert unsure < known


def test_pure_noise_leaves_no_discovery_standing():
    cfg = settings("audit.assumed_noise.score=[1.0]")
    table = certain_discoveries(course(noise_around_zero(300, 0.5)), cfg, np.random.default_rng(0))
    assert table.set_index("definition")["discoveries"].to_dict() == {"baseline": 0, "record": 0}


def test_the_mean_of_the_best_is_taken_of_what_is_there_while_the_pool_fills():
    values = np.array([3.0, 1.0, 2.0, 5.0])
    assert running_mean_of_best(values, 2, np.array([1, 2, 3, 4])).tolist() == [3.0, 2.0, 2.5, 4.0]


def test_quality_is_mirrored_where_smaller_is_better():
    cfg, values = settings(), noise_around_zero(120, 0.5)
    up = quality(course(values), cfg, np.random.default_rng(0))
    down = quality(
        replace(course(-values), larger_is_better=False), cfg, np.random.default_rng(0)
    )  # fmt: skip
    assert down.table["best"].to_numpy() == pytest.approx(-up.table["best"].to_numpy())
    assert down.table["pool_low"].to_numpy() == pytest.approx(-up.table["pool_high"].to_numpy())
    assert down.later_minus_earlier == pytest.approx(up.later_minus_earlier)


def test_an_event_on_a_border_belongs_to_the_earlier_piece():
    assert batch_counts(np.array([0.5, 1.0, 1.5, 4.0]), 4.0, 4).tolist() == [2.0, 1.0, 0.0, 1.0]


def test_every_figure_and_table_that_a_finding_names_is_made():
    cfg = settings()
    one = study(course(noise_around_zero(200, 0.3)), cfg, frozenset())
    found = by_kind(one, cfg).values()
    named = {path for finding in found for path in (*finding.tables, *finding.figures)}
    made = {f"tables/{name}.csv" for name in tables([one], cfg)} | {f"figures/{name}.svg" for name in draw([one], cfg)}
    assert named <= made


def test_without_published_data_the_verdict_says_that_the_published_law_is_not_judged():
    cfg = settings()
    assert "not judged" in verdict([study(course(noise_around_zero(200, 0.3)), cfg, frozenset())], cfg)


@pytest.mark.parametrize(
    "override",
    [
        "audit.ahead=1",
        "audit.fit_from=2",
        "audit.starts=[1.0]",
        "audit.points=2",
        "audit.distinguished=0",
        "audit.random_seed=-1",
        "audit.assumed_noise.loss=[]",
    ],
)
def test_a_setting_out_of_range_is_named(override):
    with pytest.raises(InputError, match=override.partition("=")[0]):
        settings(override)


def test_discoveries_that_are_all_at_the_end_have_no_law():
    made = course(np.ones(20), baseline=0.5)
    late = replace(
        made,
        experiments=made.experiments.assign(compute=made.end),
        processes=(replace(made.processes[0], times=np.full(19, made.end)), made.processes[1]),
    )
    cfg = settings()
    assert methods_in_use([late], cfg) == [("record_count_test", 20)]
    assert law_findings(study(late, cfg, frozenset()), cfg) == []


def test_a_published_search_with_too_few_discoveries_is_not_called_absent():
    cfg = settings()
    few = replace(course(np.zeros(20)), published=True)
    assert "too few" in verdict([study(few, cfg, frozenset())], cfg)


def test_an_exponent_by_another_definition_says_where_its_law_is_rejected():
    cfg = settings()
    one = study(course(noise_around_zero(400, 0.3)), cfg, frozenset())
    early = replace(one.course.processes[1], times=np.array([*range(1, 16), *range(386, 401)], dtype=float))
    answer = by_kind(study(replace(one.course, processes=(one.course.headline, early)), cfg, frozenset()), cfg)
    assert "of which no power law holds" in answer["exponent"].answer


def test_a_little_compute_is_not_printed_as_none():
    cfg = settings()
    made = course(noise_around_zero(200, 0.3))
    small = replace(
        made,
        end=made.end / 1000,
        experiments=made.experiments.assign(compute=made.experiments["compute"] / 1000),
        processes=tuple(replace(one, times=one.times / 1000) for one in made.processes),
    )
    assert "The next 0.05 experiments" in by_kind(study(small, cfg, frozenset()), cfg)["prediction"].answer
