"""The user's own files: what is read, how it is split and tokenised, and what is said about bad input."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from replication.corpus import Corpus, corpus_settings, describe, prepare
from replication.corpus.files import FilesSettings
from replication.settings import InputError

CONF = Path(__file__).parents[2] / "conf" / "corpus"


def settings_for(*paths: Path, **changes: object) -> FilesSettings:
    defaults = yaml.safe_load((CONF / "files.yaml").read_text(encoding="utf-8"))
    mapping = {**defaults, "paths": [str(path) for path in paths], "val_fraction": 0.2, "test_fraction": 0.2}
    settings = corpus_settings({**mapping, **changes})
    assert isinstance(settings, FilesSettings)
    return settings


def documents(corpus: Corpus) -> dict[str, list[str]]:
    return {split: corpus.open(split).tobytes().decode().split("\0")[:-1] for split in corpus.tokens}


def write_jsonl(path: Path, texts: list[str], field: str = "text") -> Path:
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in texts), encoding="utf-8")
    return path


def write_parquet(path: Path, texts: list[str | None], column: str = "text") -> Path:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({column: texts, "number": list(range(len(texts)))}), path)
    return path


TEXTS = [f"Text number {i}: größer, 日本.\nSecond line." for i in range(300)]


def test_text_jsonl_and_parquet_hold_the_same_documents(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number:03d}.md").write_bytes(text.replace("\n", "\r\n").encode())
    kinds = [
        folder / "*.md",
        write_jsonl(tmp_path / "a.jsonl", TEXTS),
        write_parquet(tmp_path / "a.parquet", [*TEXTS]),
    ]
    corpora = [prepare(settings_for(path), tmp_path) for path in kinds]
    assert len({corpus.sha256 for corpus in corpora}) == 1
    found = documents(corpora[0])
    assert sorted(found["train"] + found["val"] + found["test"]) == sorted(TEXTS)
    assert found["train"] == [text for text in TEXTS if text in found["train"]], "documents keep their order"
    assert all(30 < len(found[split]) < 100 for split in ("val", "test"))
    assert "exact copies together" in describe(corpora[0])


def test_copies_of_a_document_never_cross_splits(tmp_path: Path) -> None:
    copies = [f"  {text.replace(chr(10), '   ')}\n\n" for text in TEXTS]
    corpus = prepare(settings_for(write_jsonl(tmp_path / "a.jsonl", TEXTS + copies)), tmp_path)
    splits = [{" ".join(text.split()) for text in texts} for texts in documents(corpus).values()]
    assert sum(map(len, splits)) == len(set.union(*splits)) == len(TEXTS)


def test_the_split_of_a_document_does_not_depend_on_the_others(tmp_path: Path) -> None:
    all_of_them = documents(prepare(settings_for(write_jsonl(tmp_path / "a.jsonl", TEXTS)), tmp_path))
    half = documents(prepare(settings_for(write_jsonl(tmp_path / "b.jsonl", TEXTS[::2])), tmp_path))
    assert all(set(half[split]) <= set(all_of_them[split]) for split in half)


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """A small byte-level BPE tokenizer trained on the texts."""
    library = pytest.importorskip("tokenizers")
    tokenizer = library.ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(TEXTS, vocab_size=500, min_frequency=2, special_tokens=["<eod>"], show_progress=False)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_a_tokenizer_file_gives_its_ids_and_ends_each_document(tmp_path: Path, tokenizer_file: Path) -> None:
    library = pytest.importorskip("tokenizers")
    path = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    corpus = prepare(settings_for(path, tokenizer=str(tokenizer_file), eod_token="<eod>"), tmp_path)
    tokenizer = library.Tokenizer.from_file(str(tokenizer_file))
    train = corpus.open("train")
    assert train.dtype == np.uint16
    assert corpus.vocab_size == tokenizer.get_vocab_size()
    eod = tokenizer.token_to_id("<eod>")
    parts = np.split(train, np.flatnonzero(train == eod) + 1)[:-1]
    texts = [tokenizer.decode(part[:-1].tolist()) for part in parts]
    assert set(texts) < set(TEXTS)
    assert len(texts) == corpus.documents["train"]
    assert corpus.bytes_per_token["train"] == sum(len(text.encode()) for text in texts) / len(train)
    assert set(corpus.packages) == {"tokenizers"}


def test_faults_of_the_tokenizer_are_named(tmp_path: Path, tokenizer_file: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    (tmp_path / "not.json").write_text("{torn")
    (tmp_path / "other.json").write_text('{"model": {"type": "None such"}}')
    cases: list[tuple[dict[str, object], str]] = [
        (
            {"tokenizer": str(tmp_path / "gone.json"), "eod_token": "x"},
            "corpus.tokenizer: no such file: .*gone.json",
        ),
        (
            {"tokenizer": str(tmp_path / "not.json"), "eod_token": "x"},
            "corpus.tokenizer: .*not.json is not JSON",
        ),
        (
            {"tokenizer": str(tmp_path / "other.json"), "eod_token": "x"},
            "other.json is not a tokenizers file",
        ),
        (
            {"tokenizer": str(tokenizer_file), "eod_token": "<end>"},
            "corpus.eod_token: '<end>' is not in the vocabulary",
        ),
        ({"tokenizer": str(tokenizer_file)}, "corpus.eod_token: name the token that ends a document"),
        ({"eod_token": "<eod>"}, "corpus.eod_token: must be null with tokenizer=bytes"),
    ]
    for changes, message in cases:
        with pytest.raises(InputError, match=message) as error:
            prepare(settings_for(path, **changes), tmp_path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"text": "one"}\n\n{"text": "two"\n', r"a\.jsonl line 3: not JSON: .* at column"),
        (
            "a.jsonl",
            b'{"text": "one"}\n{"body": "two"}\n',
            r"a\.jsonl line 2: no field 'text' \(it has body\)",
        ),
        (
            "a.jsonl",
            b'{"text": "one"}\n{"text": null}\n',
            r"a\.jsonl line 2: field 'text' is NoneType, expected text",
        ),
        ("a.jsonl", b'["one"]\n', r"a\.jsonl line 1: expected an object with a field 'text'"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', r"a\.jsonl line 1: not valid Unicode"),
        ("a.jsonl", b'{"text": "ok"}\n{"text": "\xff"}\n', r"a\.jsonl line 2: not UTF-8 at byte 10"),
        ("a.txt", b"fine \xff\n", r"a\.txt: not UTF-8 at byte 5"),
        ("a.txt", b"one\0two", r"a\.txt: NUL byte at byte 3"),
        ("a.txt", b" \n\n", r"corpus 'files' is empty"),
        (
            "a.txt",
            b"one document\n",
            r"corpus 'files': the \w+ split is empty; documents are split whole .* there are 1:",
        ),
        ("a.parquet", b"PAR1 but not really", r"a\.parquet: not a readable parquet file"),
    ],
)
def test_bad_text_is_reported_with_its_file_and_row(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        prepare(settings_for(tmp_path / name), tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert not any(path.is_dir() for path in (tmp_path / "cache" / "corpus").iterdir())


def test_bad_parquet_columns_and_rows_are_named(tmp_path: Path) -> None:
    good = write_parquet(tmp_path / "a.parquet", [*TEXTS])
    with pytest.raises(InputError, match=r"a\.parquet: no column 'body' \(corpus\.column; it has text, number\)"):
        prepare(settings_for(good, column="body"), tmp_path)
    with pytest.raises(InputError, match=r"a\.parquet row 1: field 'number' is int, expected text"):
        prepare(settings_for(good, column="number"), tmp_path)
    holes = write_parquet(tmp_path / "b.parquet", [*TEXTS, None])
    with pytest.raises(InputError, match=r"b\.parquet row 301: field 'text' is NoneType"):
        prepare(settings_for(holes), tmp_path)


def test_globs_and_fractions_are_checked(tmp_path: Path) -> None:
    good = write_jsonl(tmp_path / "a.jsonl", TEXTS)
    with pytest.raises(InputError, match=r"corpus\.paths: name at least one file or glob"):
        prepare(settings_for(), tmp_path)
    with pytest.raises(InputError, match=r"corpus\.paths\[1\]: no file matches '.*\*\.csv'"):
        prepare(settings_for(good, tmp_path / "*.csv"), tmp_path)
    for changes in (
        {"val_fraction": 0.0},
        {"test_fraction": 1.0},
        {"val_fraction": 0.6, "test_fraction": 0.4},
    ):
        with pytest.raises(InputError, match=r"corpus\.(val|test)_fraction"):
            prepare(dataclasses.replace(settings_for(good), **changes), tmp_path)  # type: ignore[arg-type]
