"""The Engineer: which benchmarks count, and what a development says of its end."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from loop.discover import Search
from loop.engineer import (
    TRACKS,
    Development,
    DiscardSettings,
    Engineer,
    JudgeSettings,
    MonitorSettings,
    TaskSettings,
    reference,
)
from loop.records import Attempt
from replication.ledger import Ledger
from replication.settings import InputError

SETTINGS = TaskSettings(margin=0.05, most_sd=0.03)
CHANCE = {"next_token": 0.2, "recall": 0.25}


def run(name, seed, next_token, recall, seconds=2.0):
    return {
        "name": name,
        "seed": seed,
        "loss": 2.0 + seed,
        "honest_loss": 2.0 + seed,
        "benchmarks": {"next_token": next_token, "recall": recall},
        "parameters": 100,
        "flops": 1e6,
        "seconds": {"text": seconds + seed, "recall": seconds},
        "curve": [5.0, 3.0, 2.0 + seed],
    }


def runs(recall=(0.9, 0.9), other=(0.8, 0.8), next_token=0.4):
    return [
        *(run("delta_net", seed, next_token, value) for seed, value in enumerate(recall)),
        *(run("gated_delta_net", seed, next_token, value) for seed, value in enumerate(other)),
    ]


def found(runs_, over_steps=1):
    return reference(runs_, "delta_net", CHANCE, SETTINGS, over_steps)


def test_a_task_that_all_baselines_learn_with_little_noise_counts():
    assert found(runs()).tasks == ("next_token", "recall")


@pytest.mark.parametrize(
    "values",
    [
        {"recall": (0.9, 0.6)},  # noisy
        {"other": (0.9, 0.6)},  # noisy in another baseline
        {"recall": (0.28, 0.27)},  # hardly above chance
        {"other": (0.1, 0.1)},  # below it
    ],
)
def test_a_task_that_says_little_is_only_shown(values):
    assert found(runs(**values)).tasks == ("next_token",)


def test_means_and_the_anchors_time_and_loss():
    measured = found(runs(), over_steps=2)
    assert measured.anchor["loss"] == 2.5
    assert measured.seconds == {"text": 2.5, "recall": 2.0}
    assert measured.final_loss == pytest.approx((2.5 + 3.0) / 2)
    assert measured.benchmark({"next_token": 0.3, "recall": 0.5}) == pytest.approx(0.4)
    assert measured.benchmark({"next_token": 0.3}) != measured.benchmark({"next_token": 0.3})  # NaN


def test_a_baseline_that_another_process_measures_is_left_to_it(tmp_path):
    ledger, documents, answers = Ledger(tmp_path), iter([[], runs()]), []
    search = SimpleNamespace(
        archive=SimpleNamespace(baselines=lambda: next(documents)),
        engineer=SimpleNamespace(ledger=ledger, baseline_run=lambda worker, baseline, seed: (baseline.name, seed)),
        settings=SimpleNamespace(
            baselines=("delta_net",),
            anchor="delta_net",
            baseline_seeds=2,
            tasks=SETTINGS,
            discard=SimpleNamespace(over_steps=1),
        ),
        _chance=CHANCE,
    )
    engine = SimpleNamespace(map=lambda items, work: answers.extend(work(None, item) for item in items) or [])
    with ledger.claim("baseline-delta_net-0"):
        Search._measure_baselines(search, engine)
    assert answers == [None, ("delta_net", 1)]


def version(verdict, reason=""):
    return Attempt(
        stage="propose",
        name="idea",
        motivation="",
        source="",
        verdict=verdict,
        reason=reason,
        certificate=None,
        nearest=(),
        truth={},
    )


def test_what_was_never_trained_is_rejected_with_the_last_reason():
    attempts = (version("duplicate", "the same program"), version("leaky", "it sees"))
    end = Development(attempts=attempts, records={}, certified=None, device_seconds=0.0, seconds={})
    assert (end.status, end.reason) == ("rejected", "it sees")


class Crashing(Engineer):
    """One whose runs all fail."""

    def _run(self, worker, track, planned, monitor):
        spec = SimpleNamespace(device="cpu")
        return SimpleNamespace(status="crashed", error="no such name", spec=spec, cpu_seconds=2.0)


def engineer(below=None, repairs=2):
    return Crashing(
        benches={},
        plans={track: lambda candidate, seed, certificate: None for track in TRACKS},
        ledger=None,
        checker=SimpleNamespace(check=lambda worker, candidate: ("accepted", "", SimpleNamespace(causal=True))),
        discard=DiscardSettings(certificate=below is None, below=below, over_steps=1),
        monitor=MonitorSettings(time_factor=3.0),
        judge_settings=None,
        repairs=repairs,
    )


def test_a_failed_program_that_is_repaired_into_a_known_one_stays_a_failure():
    told = {"code": "class Known: ...", "explanation": "simpler"}
    mind = SimpleNamespace(ask=lambda purpose, payload: SimpleNamespace(content=told, error="", truth={}))
    known = {"class Known: ...": "the same program as experiment 4 but for names and layout"}
    draws, monitors = np.random.default_rng(0), dict.fromkeys(TRACKS)
    end = engineer().develop(
        None, mind, [version("accepted")], 0, monitors, lambda source: known.get(source, ""), draws
    )
    assert [attempt.verdict for attempt in end.attempts] == ["accepted", "duplicate", "duplicate"]
    assert [attempt.reason for attempt in end.attempts[1:]] == [*known.values()] * 2
    assert (end.status, end.device_seconds) == ("crashed", 2.0)


def test_no_rule_against_leaks_ends_a_program_that_the_search_starts_from():
    anchor = found(runs())
    assert engineer(below=0.1).monitors(anchor, start=False)["text"].below == pytest.approx(0.9 * anchor.final_loss)
    assert engineer(below=0.1).monitors(anchor, start=True)["text"].below is None
    for start in (False, True):
        monitors = engineer(below=0.1).monitors(anchor, start=start)
        assert {track: monitor.cpu_seconds for track, monitor in monitors.items()} == {"text": 7.5, "recall": 6.0}
        assert monitors["recall"].below is None


def test_weights_that_name_other_marks_are_refused():
    with pytest.raises(InputError, match=r"judge\.weights"):
        JudgeSettings(anchors={}, weights={"beauty": 1.0})
    with pytest.raises(InputError, match=r"judge\.weights"):
        JudgeSettings(anchors={}, weights={"innovation": 0.0, "complexity": 0.0, "performance": 0.0})


@pytest.mark.parametrize("below", [0.0, 1.0, -0.1])
def test_a_rule_outside_of_0_and_1_is_refused(below):
    with pytest.raises(InputError, match=r"discard\.below"):
        DiscardSettings(certificate=False, below=below, over_steps=20)


def test_gains_are_measured_against_the_baseline_that_is_named():
    made = reference(runs(), "gated_delta_net", CHANCE, SETTINGS, 1)
    assert (found(runs()).anchor["name"], made.anchor["name"]) == ("delta_net", "gated_delta_net")
    assert made.anchor["benchmarks"]["recall"] == 0.8
