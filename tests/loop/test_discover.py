"""Whole searches at a tiny scale: equal, whoever ran them and however often they were stopped."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loop.discover import configure, search
from replication.settings import InputError
from tests.loop.searches import dump, overrides, write_texts


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    return write_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Searches of this module share a ledger: what one has trained, another finds, as after a kill."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def whole(texts, results):
    """A search of eight experiments without a stop, one at a time."""
    archive = results / "whole.sqlite"
    found = search(configure(overrides(texts, results, archive, "budget.experiments=8", "workers=1")))
    return archive, found


def test_a_search_keeps_everything_that_happened(whole):
    _, found = whole
    assert [experiment.number for experiment in found.experiments] == list(range(8))
    root, *others = found.experiments
    assert root.name == "delta_net"
    assert root.parent is None
    assert all(other.parent is not None and other.parent < other.number for other in others)
    for experiment in found.experiments:
        assert (experiment.status == "ok") == (experiment.honest_loss is not None) == bool(experiment.fitness)
        assert experiment.attempts
        assert experiment.analysis["weakness"]
        assert experiment.device_seconds > 0 or experiment.status == "rejected"
        if experiment.status == "ok":
            assert set(experiment.rules) == {"below_2", "below_10", "released_code", "certificate"}
            assert set(experiment.benchmarks) == {
                "next_token",
                "multi_query_recall",
                "selective_copying",
                "fuzzy_recall",
            }
    verdicts = {attempt.verdict for experiment in found.experiments for attempt in experiment.attempts}
    assert "leaky" in verdicts  # 30% of the proposals leak


def test_several_workers_find_what_one_finds(texts, results, whole):
    archive = results / "several.sqlite"
    search(configure(overrides(texts, results, archive, "budget.experiments=8", "workers=2")))
    assert dump(overrides(texts, results, archive)) == dump(overrides(texts, results, whole[0]))


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(texts, results, whole):
    archive = results / "stopped.sqlite"
    for experiments in (1, 4, 8):
        search(configure(overrides(texts, results, archive, f"budget.experiments={experiments}")))
    assert dump(overrides(texts, results, archive)) == dump(overrides(texts, results, whole[0]))


def test_a_search_that_is_killed_at_any_moment_loses_and_doubles_nothing(texts, results, whole):
    archive = results / "killed.sqlite"
    command = [sys.executable, "-m", "loop", *overrides(texts, results, archive, "budget.experiments=8")]
    draws = random.Random(3)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(draws.uniform(4, 9))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True)
    assert dump(overrides(texts, results, archive)) == dump(overrides(texts, results, whole[0]))


def test_a_budget_below_what_is_done_shows_that_many(texts, results, whole):
    found = search(configure(overrides(texts, results, whole[0], "budget.experiments=3")))
    assert [experiment.number for experiment in found.experiments] == [0, 1, 2]


def test_another_seed_makes_another_search(texts, results, whole):
    archive = results / "seed.sqlite"
    found = search(configure(overrides(texts, results, archive, "budget.experiments=3", "seed=1")))
    assert [e.source for e in found.experiments] != [e.source for e in whole[1].experiments[:3]]


def test_an_archive_of_another_search_is_refused(texts, results, whole):
    with pytest.raises(InputError, match="it holds another search: seed is 0 there and 1 here"):
        search(configure(overrides(texts, results, whole[0], "seed=1")))


def test_without_cognition_nothing_comes_from_it(texts, results):
    archive = results / "arm.sqlite"
    more = ("arm=without_cognition", "budget.experiments=4", "offline.leak=0", "offline.crash=0")
    found = search(configure(overrides(texts, results, archive, *more)))
    assert not any(experiment.entries for experiment in found.experiments)
    origins = {component.origin for experiment in found.experiments for component in experiment.components}
    assert origins
    assert "cognition" not in origins


def test_the_null_search_computes_what_its_root_computes(texts, results):
    archive = results / "null.sqlite"
    found = search(configure(overrides(texts, results, archive, "arm=no_op", "budget.experiments=3")))
    assert [experiment.status for experiment in found.experiments] == ["ok"] * 3
    assert len({experiment.parameters for experiment in found.experiments}) == 1
    assert len({experiment.source for experiment in found.experiments}) == 3


def test_a_budget_that_is_spent_ends_a_search_with_the_reason(texts, results, whole):
    archive = results / "budget.sqlite"
    more = ("budget.experiments=8", "budget.device_hours=1e-6")
    found = search(configure(overrides(texts, results, archive, *more)))
    assert len(found.experiments) < 8
    assert found.stopped.startswith("budget.device_hours: ")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("roots=[nothing]", "unknown program 'nothing'"),
        ("tracks.text=cpu-large", "tracks.text: there is no scale 'cpu-large' here"),
        ("baselines=[mamba2]", "anchor: delta_net is none of the baselines"),
        ("pool.parents=60", "pool.parents"),
        ("llm=openai", "llm.model: name the model"),
        ("budget.money=1", "budget.money: say in llm.price what a million tokens cost"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(texts, results, tmp_path, setting, message):
    with pytest.raises(InputError, match=message):
        search(configure(overrides(texts, results, tmp_path / "wrong.sqlite", setting)))
