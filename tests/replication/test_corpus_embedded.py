"""The embedded corpus: the recorded bytes, the selection rules, and what is said of a changed one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from replication.corpus import Corpus, corpus_settings, describe, prepare
from replication.corpus.embedded import EmbeddedSettings, Expected
from replication.settings import InputError

CONF = Path(__file__).parents[2] / "conf" / "corpus"


def test_the_default_corpus_has_the_recorded_bytes_and_is_reused(tmp_path: Path) -> None:
    settings = corpus_settings(yaml.safe_load((CONF / "embedded.yaml").read_text(encoding="utf-8")))
    assert isinstance(settings, EmbeddedSettings)
    assert settings.expected is not None
    corpus = prepare(settings, tmp_path)
    assert corpus.sha256 == "b20e0cd31ee32ef1cdfd680620f590ab09f80f53c14455004c4c14a2ba2876be"
    assert corpus.tokens == settings.expected.bytes
    assert corpus.bytes_per_token == {"train": 1.0, "val": 1.0, "test": 1.0}
    written = (corpus.folder / "meta.json").stat().st_mtime_ns
    assert prepare(settings, tmp_path) == corpus
    assert (corpus.folder / "meta.json").stat().st_mtime_ns == written
    assert "not a language benchmark" in describe(corpus)
    assert most_of_a_file_found_in_one_other(corpus) < 0.75


def most_of_a_file_found_in_one_other(corpus: Corpus) -> float:
    """Over validation and test files: the largest share of a file whose lines all stand in one train file."""
    trained = [set(text.splitlines()) for text in documents(corpus, "train")]
    worst = 0.0
    for text in documents(corpus, "val") + documents(corpus, "test"):
        lines = [line for line in text.splitlines() if len(line) >= 20]
        size = sum(map(len, lines))
        worst = max(worst, *(sum(len(line) for line in lines if line in other) / size for other in trained))
    return worst


def documents(corpus: Corpus, split: str) -> list[str]:
    return corpus.open(split).tobytes().decode().split("\0")[:-1]


SOURCE = "".join(f"def step_{letter}(x):\n    return x + x\n\n" for letter in "abcdefghijklmnopqrst")


def install(site: Path, files: dict[str, bytes], *, version: str = "1.0") -> None:
    """A package `pack` as pip leaves it: the files, and a RECORD that lists them."""
    info = site / f"pack-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pack\nVersion: {version}\n")
    for name, data in files.items():
        path = site / "pack" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (info / "RECORD").write_text("".join(f"pack/{name},,\n" for name in files) + "../../bin/pack.py,,\n")


def many(count: int = 60) -> dict[str, bytes]:
    return {f"m{i:02d}.py": f"# module {i}\n{SOURCE}".encode() for i in range(count)}


def settings_for(**changes: object) -> EmbeddedSettings:
    base = EmbeddedSettings(
        kind="embedded",
        name="pack",
        packages={"pack": "1.0"},
        excluded_folders=("tests",),
        excluded_files=("version.py",),
        min_bytes=512,
        max_bytes=2000,
        max_digit_share=0.25,
        val_fraction=0.2,
        test_fraction=0.2,
        expected=None,
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def names_of(corpus: Corpus) -> set[str]:
    return {text.splitlines()[0] for split in ("train", "val", "test") for text in documents(corpus, split)}


def test_only_the_wanted_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = many()
    unwanted = {
        "__init__.py": f"# top level\n{SOURCE}".encode(),
        "tests/a.py": f"# test\n{SOURCE}".encode(),
        "version.py": f"# version\n{SOURCE}".encode(),
        "short.py": b"# short\n",
        "long.py": f"# long\n{SOURCE * 4}".encode(),
        "table.py": b"# table\n" + b"1234, " * 150,
        "copy.py": wanted["m00.py"],
        "data.txt": f"# text\n{SOURCE}".encode(),
    }
    kept = {"sub/__init__.py": f"# sub package\n{SOURCE}".encode()}
    install(tmp_path / "site", {**wanted, **unwanted, **kept})
    (tmp_path / "site" / "pack" / "added_later.py").write_text(f"# not in RECORD\n{SOURCE}")
    monkeypatch.syspath_prepend(tmp_path / "site")
    corpus = prepare(settings_for(), tmp_path)
    assert names_of(corpus) == {f"# module {i}" for i in range(60)} | {"# sub package"}
    assert sum(corpus.documents.values()) == 61


def test_line_ends_and_the_order_in_record_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "unix", many())
    windows = {name: data.replace(b"\n", b"\r\n") for name, data in reversed(many().items())}
    install(tmp_path / "windows", windows)
    with monkeypatch.context() as path:
        path.syspath_prepend(tmp_path / "unix")
        unix = prepare(settings_for(), tmp_path / "one")
    monkeypatch.syspath_prepend(tmp_path / "windows")
    assert prepare(settings_for(), tmp_path / "other").sha256 == unix.sha256


def test_another_version_is_named_with_the_one_expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", many(), version="1.1")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(InputError, match=r"corpus\.packages\.pack: version 1\.0 expected, 1\.1 installed"):
        prepare(settings_for(), tmp_path)
    with pytest.raises(InputError, match=r"corpus\.packages\.no-such-pack: version 2 expected, none installed"):
        prepare(settings_for(packages={"no-such-pack": "2"}), tmp_path)


def test_an_altered_installation_is_named_by_its_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", many())
    monkeypatch.syspath_prepend(tmp_path / "site")
    corpus = prepare(settings_for(), tmp_path / "first")
    meta = yaml.safe_load((corpus.folder / "meta.json").read_text(encoding="utf-8"))
    expected = Expected(
        files=corpus.documents,
        bytes=corpus.tokens,
        sha256={split: value["sha256"] for split, value in meta["splits"].items()},
    )
    recorded = settings_for(expected=expected)
    assert prepare(recorded, tmp_path / "second").sha256 == corpus.sha256
    altered = next(name for name in many() if f"# module {int(name[1:3])}\n" in documents(corpus, "val")[0] + "\n")
    path = tmp_path / "site" / "pack" / altered
    path.write_bytes(path.read_bytes().replace(b"return x + x", b"return x * x", 1))
    with pytest.raises(InputError, match=r"corpus\.expected\.sha256\.val: .* recorded, .* found") as error:
        prepare(recorded, tmp_path / "third")
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "third" / "corpus").glob("*/")), "a corpus that was refused must not stay"
    path.unlink()
    with pytest.raises(InputError, match=rf"pack/{altered} is listed in RECORD but not there"):
        prepare(recorded, tmp_path / "third")
