"""Shards are whole or absent: torn files, killed builds, full disks, and several processes on one cache."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from replication.corpus import corpus_settings, prepare
from replication.corpus.files import FilesSettings
from replication.settings import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> FilesSettings:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02d}.txt").write_text(f"document {number}\n" * 30)
    return files_settings(folder)


def files_settings(folder: Path) -> FilesSettings:
    return FilesSettings(
        kind="files",
        name="mine",
        paths=(str(folder / "*.txt"),),
        field="text",
        column="text",
        tokenizer="bytes",
        eod_token=None,
        val_fraction=0.2,
        test_fraction=0.2,
    )


@pytest.mark.parametrize("damage", ["shorter", "flipped", "gone", "meta torn", "meta altered"])
def test_a_damaged_corpus_is_built_again(settings: FilesSettings, tmp_path: Path, damage: str) -> None:
    corpus = prepare(settings, tmp_path)
    before = corpus.open("val").copy()
    shard, meta = corpus.folder / "val.bin", corpus.folder / "meta.json"
    if damage == "shorter":
        shard.write_bytes(shard.read_bytes()[:-1])
        with pytest.raises(InputError, match=r"val\.bin: \d+ bytes, expected \d+"):
            corpus.open("val")
    elif damage == "flipped":
        shard.write_bytes(bytes([shard.read_bytes()[0] ^ 1]) + shard.read_bytes()[1:])
        with pytest.raises(InputError, match=r"the content of val\.bin was altered"):
            corpus.verify()
    elif damage == "gone":
        shard.unlink()
    elif damage == "meta torn":
        meta.write_text(meta.read_text()[:100])
    else:
        meta.write_text(meta.read_text().replace('"bytes": ', '"bytes": 1'))
    again = prepare(settings, tmp_path)
    assert again == corpus
    again.verify()
    np.testing.assert_array_equal(again.open("val"), before)


def test_a_finished_corpus_is_not_written_again(settings: FilesSettings, tmp_path: Path) -> None:
    folder = prepare(settings, tmp_path).folder
    written = [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    prepare(settings, tmp_path)
    assert [path.stat().st_mtime_ns for path in sorted(folder.iterdir())] == written


def test_every_setting_and_every_input_byte_is_part_of_the_key(settings: FilesSettings, tmp_path: Path) -> None:
    other = {
        "name": "other",
        "field": "body",
        "column": "body",
        "val_fraction": 0.25,
        "test_fraction": 0.25,
        "paths": (*settings.paths, settings.paths[0]),
    }
    folders = {prepare(settings, tmp_path).folder}
    for name, value in other.items():
        changed: FilesSettings = dataclasses.replace(settings, **{name: value})  # type: ignore[arg-type]
        folders.add(prepare(changed, tmp_path).folder)
    text = Path(settings.paths[0]).parent / "07.txt"
    text.write_bytes(text.read_bytes().replace(b"7", b"8", 1))
    folders.add(prepare(settings, tmp_path).folder)
    assert len(folders) == len(other) + 2


PREPARE = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from replication.corpus import prepare
from replication.corpus.files import FilesSettings
from replication.settings import InputError
{limit}
settings = FilesSettings(kind="files", name="mine", paths=({paths!r},), field="text", column="text",
                         tokenizer="bytes", eod_token=None, val_fraction=0.2, test_fraction=0.2)
try:
    print(prepare(settings, Path({cache!r})).sha256)
except InputError as error:
    print("InputError:", error)
"""


def script(settings: FilesSettings, cache: Path, limit: str = "") -> list[str]:
    values = {"root": str(ROOT), "paths": settings.paths[0], "cache": str(cache), "limit": limit}
    return [sys.executable, "-c", PREPARE.format(**values)]


def test_several_processes_make_one_corpus(settings: FilesSettings, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    processes = [subprocess.Popen(script(settings, cache), stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert answers == {prepare(settings, tmp_path / "alone").sha256}
    assert len([path for path in (cache / "corpus").iterdir() if path.is_dir()]) == 1


def test_what_a_killed_build_left_is_cleared_away(settings: FilesSettings, tmp_path: Path) -> None:
    folder = prepare(settings, tmp_path / "elsewhere").folder
    left_over = tmp_path / "corpus" / f"{folder.name}.part"
    left_over.mkdir(parents=True)
    (left_over / "train.bin").write_bytes(b"half")
    for path in (left_over / "train.bin", left_over):
        os.utime(path, (1e9, 1e9))
    assert prepare(settings, tmp_path).folder.name == folder.name
    assert not left_over.exists()


def test_a_write_that_fails_leaves_nothing_and_says_so_in_one_line(settings: FilesSettings, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")  # a limit on file size stands in for a full disk
    limit = f"import resource; resource.setrlimit({resource.RLIMIT_FSIZE}, (4096, 4096))"
    result = subprocess.run(script(settings, tmp_path, limit), capture_output=True, text=True, timeout=60)
    assert result.stdout.startswith("InputError: corpus 'mine' cannot be prepared in"), result.stderr
    assert result.stdout.count("\n") == 1
    assert [path for path in (tmp_path / "corpus").iterdir() if path.is_dir()] == []


def test_an_unknown_kind_and_an_unknown_setting_are_named() -> None:
    with pytest.raises(InputError, match=r"corpus\.kind: expected one of embedded, files, hub, recall; got 'web'"):
        corpus_settings({"kind": "web"})
    with pytest.raises(InputError, match=r"corpus\.colour: unknown setting"):
        corpus_settings({"kind": "files", "colour": "red"})
