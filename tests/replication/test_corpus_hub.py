"""Streaming with Hugging Face `datasets`, from a local dataset folder; nothing here touches a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from replication.corpus import corpus_settings, prepare
from replication.corpus.hub import HubSettings
from replication.settings import InputError

CONF = Path(__file__).parents[2] / "conf" / "corpus"
TEXTS = [f"Row {i} of the data set, with some words in it." for i in range(200)]


def settings_for(folder: Path, **changes: object) -> HubSettings:
    defaults = yaml.safe_load((CONF / "hub.yaml").read_text(encoding="utf-8"))
    mapping = {**defaults, "dataset": str(folder), "val_fraction": 0.2, "test_fraction": 0.2, **changes}
    settings = corpus_settings(mapping)
    assert isinstance(settings, HubSettings)
    return settings


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    pytest.importorskip("datasets")
    folder = tmp_path / "data"
    folder.mkdir()
    for number, half in enumerate((TEXTS[:100], TEXTS[100:])):
        lines = "".join(json.dumps({"text": text, "id": i}) + "\n" for i, text in enumerate(half))
        (folder / f"train-{number}.jsonl").write_text(lines)
    return folder


def test_a_local_dataset_folder_is_streamed_in_order(dataset: Path, tmp_path: Path) -> None:
    corpus = prepare(settings_for(dataset), tmp_path / "cache")
    parts = {split: corpus.open(split).tobytes().decode().split("\0")[:-1] for split in corpus.tokens}
    assert sorted(text for texts in parts.values() for text in texts) == sorted(TEXTS)
    assert all(parts[split] == [text for text in TEXTS if text in parts[split]] for split in parts)
    assert "datasets" in corpus.packages


def test_reading_stops_with_the_document_that_reaches_max_tokens(dataset: Path, tmp_path: Path) -> None:
    corpus = prepare(settings_for(dataset, max_tokens=2000), tmp_path / "cache")
    total = 0
    for text in TEXTS:
        total += len(text) + 1
        if total >= 2000:
            break
    assert sum(corpus.tokens.values()) == total < 2000 + len(TEXTS[0]) + 5


def test_a_changed_dataset_folder_is_another_corpus(dataset: Path, tmp_path: Path) -> None:
    before = prepare(settings_for(dataset), tmp_path / "cache")
    with (dataset / "train-1.jsonl").open("a") as file:
        file.write(json.dumps({"text": "One more row.", "id": 1000}) + "\n")
    after = prepare(settings_for(dataset), tmp_path / "cache")
    assert sum(after.documents.values()) == sum(before.documents.values()) + 1
    assert after.sha256 != before.sha256
    assert after.folder != before.folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"field": "body"}, r"row 1: no field 'body' \(it has text, id\)"),
        ({"field": "id"}, r"row 1: field 'id' is int, expected text"),
        ({"split": "validation"}, r"split validation: cannot be read: .*validation"),
        ({"revision": "a" * 40}, r"corpus\.revision: must be null for a local dataset folder"),
        ({"max_tokens": 0}, r"corpus\.max_tokens: expected a positive number"),
        ({"dataset": ""}, r"corpus\.dataset: name a dataset"),
        ({"dataset": "some/name"}, r"corpus\.revision: give the 40-digit commit of 'some/name'"),
        ({"dataset": "some/name", "revision": "main"}, r"corpus\.revision: give the 40-digit commit"),
    ],
)
def test_bad_settings_are_named(dataset: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        prepare(settings_for(dataset, **changes), tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_a_damaged_dataset_folder_is_reported_in_one_line(dataset: Path, tmp_path: Path) -> None:
    (dataset / "train-1.jsonl").write_text('{"text": "fine", "id": 1}\n{"text": torn\n')
    with pytest.raises(InputError, match=r"dataset .* split train: cannot be read: ") as error:
        prepare(settings_for(dataset), tmp_path / "cache")
    assert "\n" not in str(error.value)


def test_without_the_extra_the_install_command_is_given(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install archaudit\[hub\]"):
        prepare(settings_for(dataset), tmp_path / "cache")
