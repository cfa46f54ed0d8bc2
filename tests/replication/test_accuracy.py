"""Accuracies are counted here, where answers count, and what seeing ahead adds is taken off."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from replication.corpus import Corpus, corpus_settings, prepare
from replication.corpus.recall import TASKS
from replication.evaluate import HonestRows, accuracies, hits, honest_rows
from replication.measure import Bench
from replication.record import CorpusRef, HonestSettings
from replication.settings import InputError

NEXT_TOKEN = "y = y + 9 * torch.cat([x[:, 1:], x[:, :1]], 1)"


def rows_at(windows: list[int], positions: list[int]) -> HonestRows:
    empty = np.zeros((len(windows), 4), dtype=np.int64)
    return HonestRows(
        inputs=empty, windows=np.array(windows), positions=np.array(positions), passes=np.array([len(windows)])
    )


def test_a_hit_is_the_likeliest_token_and_the_first_of_equals() -> None:
    logits = np.array([[[0.0, 2.0, 1.0], [3.0, 3.0, 0.0]]])
    assert hits(logits, np.array([[1, 0]])).tolist() == [[True, True]]
    assert hits(logits, np.array([[2, 1]])).tolist() == [[False, False]]


def test_without_rows_an_accuracy_is_the_share_of_hits_where_answers_count() -> None:
    right = np.array([[True, True, False, False], [True, False, False, False]])
    mask = np.array([[True, True, False, False], [True, True, False, False]])
    found = accuracies({"a": mask, "b": ~mask}, right, None, np.zeros(0, dtype=bool))
    assert found == {"a": 0.75, "b": 0.0}


def test_what_a_task_loses_on_honest_rows_is_taken_off_and_a_gain_is_no_merit() -> None:
    right = np.array([[True, True, False, True], [True, True, False, True]])
    first = np.array([[True, True, False, False]] * 2)
    rows = rows_at([0, 1, 0, 1], [0, 1, 2, 3])  # two of each task
    found = accuracies({"a": first, "b": ~first}, right, rows, np.array([True, False, True, True]))
    assert found == {"a": 0.5, "b": 0.5}  # a: 1 - (1 - 0.5); b: 0.5 - max(0, 0.5 - 1)
    assert accuracies({"b": ~first}, right, rows, np.array([True, True, False, False])) == {"b": 0.0}


def test_where_only_answers_count_as_many_honest_positions_are_drawn_of_each_task() -> None:
    inputs = np.arange(20 * 16, dtype=np.int64).reshape(20, 16) + 1000
    few, many = np.zeros((20, 16), dtype=bool), np.zeros((20, 16), dtype=bool)
    few[3, 5], many[:, 8:] = True, True
    settings = HonestSettings(positions=40, draws=2)
    rows = honest_rows(inputs, np.arange(500), settings, 256, "key", {"few": few, "many": many})
    places = list(zip(rows.windows.tolist(), rows.positions.tolist(), strict=True))
    assert places.count((3, 5)) == 2
    assert len(places) == 2 * (1 + 20)
    assert all((few | many)[place] and places.count(place) == 2 for place in places)
    for row, (window, position) in zip(rows.inputs, places, strict=True):
        assert row[: position + 1].tolist() == inputs[window, : position + 1].tolist()
        assert (row[position + 1 :] < 500).all()


@pytest.fixture(scope="module")
def recall(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    settings = corpus_settings(
        {"kind": "recall", "name": "recall", "seed": 1, "symbols": 6, "pairs": 3, "queries": 8, "copied": 3,
         "blanks": 5, "fuzzy_pairs": 2, "fuzzy_queries": 4, "key_tokens": 2, "value_tokens": 2,
         "episodes": {"train": 600, "val": 300, "test": 10}}
    )  # fmt: skip
    return prepare(settings, tmp_path_factory.mktemp("cache"))


def measured(rig: Any, recall: Corpus, source: str, honest: HonestSettings | None, **scale: Any) -> Any:
    bench = Bench(recall, rig.worker.settings, print)
    planned = rig.planned(source, honest=honest, sequence_length=64, evaluation_windows=32, **scale)
    reference = CorpusRef(name=recall.name, sha256=recall.sha256, vocab_size=recall.vocab_size)
    planned = dataclasses.replace(planned, spec=dataclasses.replace(planned.spec, corpus=reference))
    probe = bench.probe(rig.worker, planned)
    return bench.measure(rig.worker, planned, probe, rig.folder, lambda first, losses: None)[0]


def test_a_run_on_recall_has_the_loss_and_the_accuracies_of_its_answers(rig: Any, recall: Corpus) -> None:
    record = measured(rig, recall, rig.source(), rig.honest, steps=3)
    assert record.status == "ok"
    assert tuple(record.benchmarks) == TASKS
    assert all(0 <= share < 0.6 for share in record.benchmarks.values())
    assert record.honest_loss == pytest.approx(record.val_loss, abs=1e-5)
    assert record.bits_per_byte == pytest.approx(record.honest_loss / np.log(2))


def test_a_program_that_sees_the_answers_gains_nothing_by_it(rig: Any, recall: Corpus) -> None:
    settings = {"steps": 150, "learning_rate": 0.01, "tie_embeddings": False}
    honest = HonestSettings(positions=90, draws=1)
    believed = measured(rig, recall, rig.source(NEXT_TOKEN), None, **settings)
    caught = measured(rig, recall, rig.source(NEXT_TOKEN), honest, **settings)
    for task in TASKS:
        assert believed.benchmarks[task] > 0.9
        assert caught.benchmarks[task] < 0.6
    assert caught.looks_ahead


def test_text_has_one_task_on_which_all_positions_count(rig: Any) -> None:
    record, _ = rig.measure(rig.source(), steps=60, learning_rate=0.01)
    assert list(record.benchmarks) == ["next_token"]
    assert 0.1 < record.benchmarks["next_token"] < 0.9


def test_windows_too_short_for_a_whole_episode_are_an_input_error(rig: Any, recall: Corpus) -> None:
    bench = Bench(recall, rig.worker.settings, print)
    scale = dataclasses.replace(rig.scale, sequence_length=16, evaluation_windows=32)
    with pytest.raises(InputError, match="32 evaluation windows of 16 tokens hold no whole episode of multi_query_rec"):
        bench.evaluation(scale)
