"""The Engineer: which benchmarks count, and what a development says of its end."""

from __future__ import annotations

import pytest

from loop.engineer import Development, DiscardSettings, JudgeSettings, TaskSettings, reference
from loop.records import Attempt
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
    return reference(runs_, CHANCE, SETTINGS, over_steps)


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


def test_weights_that_name_other_marks_are_refused():
    with pytest.raises(InputError, match=r"judge\.weights"):
        JudgeSettings(anchors={}, weights={"beauty": 1.0})
    with pytest.raises(InputError, match=r"judge\.weights"):
        JudgeSettings(anchors={}, weights={"innovation": 0.0, "complexity": 0.0, "performance": 0.0})


@pytest.mark.parametrize("below", [0.0, 1.0, -0.1])
def test_a_rule_outside_of_0_and_1_is_refused(below):
    with pytest.raises(InputError, match=r"discard\.below"):
        DiscardSettings(certificate=False, below=below, over_steps=20)
