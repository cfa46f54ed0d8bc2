"""The synthetic corpus: episodes that can be answered, answers that are found, and chance that is what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from replication.corpus import (
    Corpus,
    answer_positions,
    chance_levels,
    corpus_settings,
    describe,
    evaluation_windows,
    prepare,
    read_windows,
)
from replication.corpus.recall import BLANK, COPY, FIRST_SYMBOL, TASKS, RecallSettings
from replication.settings import InputError

SHA256 = "050cd4834b987d9265ccea08865dc51ee43d384b16107fcd34cb5e1e7727d532"


CONF = yaml.safe_load((Path(__file__).parents[2] / "conf/corpus/recall.yaml").read_text(encoding="utf-8"))


def settings_for(**changes: Any) -> RecallSettings:
    settings = corpus_settings({**CONF, **changes})
    assert isinstance(settings, RecallSettings)
    return settings


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return prepare(settings_for(), tmp_path_factory.mktemp("cache"))


def episodes(corpus: Corpus, split: str = "val") -> list[list[int]]:
    """Tokens of each episode; the first names its task."""
    tokens = corpus.open(split)
    starts = np.flatnonzero(tokens < len(TASKS))
    return [piece.tolist() for piece in np.split(tokens, starts[1:])]


def answered(task: int, episode: list[int], settings: RecallSettings) -> list[int]:
    """The answers of an episode, worked out from what it shows before it asks."""
    body = episode[1:]
    if task == 1:
        shown = body[: body.index(COPY)]
        return [token for token in shown if token != BLANK]
    key, value = (1, 1) if task == 0 else (settings.key_tokens, settings.value_tokens)
    pairs = settings.pairs if task == 0 else settings.fuzzy_pairs
    pieces = [body[first : first + key + value] for first in range(0, len(body), key + value)]
    known = {tuple(piece[:key]): piece[key:] for piece in pieces[:pairs]}
    assert len(known) == pairs
    return [token for piece in pieces[pairs:] for token in known[tuple(piece[:key])]]


def windows_of(corpus: Corpus, length: int, count: int) -> np.ndarray:
    offsets = evaluation_windows(corpus.tokens["val"], length, count, corpus="recall", scale="own")
    return read_windows(corpus.open("val"), offsets, length)


def test_the_same_settings_give_the_recorded_tokens_and_another_seed_others(corpus: Corpus, tmp_path: Path) -> None:
    assert corpus.sha256 == SHA256
    assert corpus.documents == settings_for().episodes
    assert corpus.bytes_per_token["val"] == 1.0
    assert prepare(settings_for(seed=2), tmp_path).sha256 != corpus.sha256
    assert "nothing about language" in describe(corpus)


@pytest.mark.parametrize("task", range(3))
def test_every_answer_follows_from_what_its_episode_showed(corpus: Corpus, task: int) -> None:
    own = [episode for episode in episodes(corpus) if episode[0] == task]
    assert len(own) > 1000
    windows = np.array([[*episode, 0] for episode in own])
    found = answer_positions(corpus, windows)
    for window, mask, episode in zip(windows, found[TASKS[task]], own, strict=True):
        assert window[1:][mask].tolist() == answered(task, episode, settings_for())
    assert not any(found[other].any() for other in TASKS if other != TASKS[task])


def test_an_answer_counts_only_where_its_whole_episode_lies_in_the_window(corpus: Corpus) -> None:
    episode = next(episode for episode in episodes(corpus) if episode[0] == 1)
    whole = np.array([[0, *episode]])
    assert answer_positions(corpus, whole)["selective_copying"].sum() == settings_for().copied
    assert not answer_positions(corpus, whole[:, :-1])["selective_copying"].any()
    assert not answer_positions(corpus, whole[:, 2:])["selective_copying"].any()
    assert not answer_positions(corpus, whole[:, :5])["selective_copying"].any()


def test_windows_cut_anywhere_hold_answers_of_every_task(corpus: Corpus) -> None:
    windows = windows_of(corpus, 64, 256)
    found = answer_positions(corpus, windows)
    assert list(found) == list(TASKS)
    assert all(mask.sum() > 100 and mask.shape == (256, 64) for mask in found.values())
    assert sum(mask.astype(int) for mask in found.values()).max() == 1
    assert (windows[:, 1:][np.logical_or.reduce(list(found.values()))] >= FIRST_SYMBOL + settings_for().symbols).all()


def test_one_that_knows_the_tokens_but_not_what_belongs_where_is_right_by_chance(corpus: Corpus) -> None:
    settings = settings_for()
    right: dict[int, list[bool]] = {task: [] for task in range(3)}
    for episode in episodes(corpus):
        task = episode[0]
        answers = answered(task, episode, settings)
        for place, answer in enumerate(answers):
            # the highest token that may stand here; in copying, what was copied is out
            right[task].append(answer == max(answers[place:] if task == 1 else shown(episode, place, settings)))
    levels = chance_levels(corpus)
    for task, name in enumerate(TASKS):
        assert np.mean(right[task]) == pytest.approx(levels[name], abs=0.03), name


def shown(episode: list[int], place: int, settings: RecallSettings) -> list[int]:
    """The tokens that an episode of pairs shows where values have the token of answer `place`."""
    key, value = (1, 1) if episode[0] == 0 else (settings.key_tokens, settings.value_tokens)
    pairs = settings.pairs if episode[0] == 0 else settings.fuzzy_pairs
    return [episode[1 + pair * (key + value) + key + place % value] for pair in range(pairs)]


def test_chance_of_text_is_its_commonest_token(tiny_corpus: Corpus) -> None:
    tokens = tiny_corpus.open("val").tobytes()
    assert chance_levels(tiny_corpus) == {"next_token": tokens.count(b" ") / len(tokens)}
    assert answer_positions(tiny_corpus, np.zeros((2, 5), dtype=np.int64))["next_token"].all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": 0}, "^corpus.pairs: must be above 0"),
        ({"pairs": 6}, r"^corpus.pairs: at most corpus.symbols \(5\)"),
        ({"symbols": 62}, "^corpus.symbols: at most 61"),
        ({"blanks": -1}, "^corpus.blanks, corpus.seed: must not be negative"),
        ({"episodes": {"train": 5}}, "^corpus.episodes: name the splits train, val, test"),
        ({"episodes": {"train": 9, "val": 0, "test": 9}}, "^corpus.episodes"),
        ({"kind": "other"}, "^corpus.kind: expected one of embedded, files, hub, recall; got 'other'"),
    ],
)
def test_settings_that_make_no_episodes_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settings_for(**changes)


def test_the_settings_of_a_corpus_come_back_from_its_folder(corpus: Corpus) -> None:
    assert corpus.settings == dataclasses.asdict(settings_for())
