"""What a process takes is seen, however it hides it, and its work folder goes, however deep it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from replication.watchdog import _size, _usage, clear

MOST = 1 << 20


def deep(folder: Path, levels: int) -> None:
    """Folders in each other, deeper than a path can say."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("a", dir_fd=here)
        below = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_the_size_of_a_folder_is_that_of_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "one" / "two").mkdir(parents=True)
    (tmp_path / "file").write_bytes(bytes(100_000))
    (tmp_path / "one" / "two" / "file").write_bytes(bytes(200_000))
    (tmp_path / "link").symlink_to("/usr")
    assert 300_000 <= _size(tmp_path, MOST) < 400_000


def test_many_small_files_and_reserved_space_count_too(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / str(number)).touch()
    assert _size(tmp_path, MOST) > MOST
    with (tmp_path / "0").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 2 * MOST)
        os.ftruncate(file.fileno(), 0)
    assert _size(tmp_path / "nothing", MOST) == 0


@pytest.mark.parametrize("levels", [1, 50, 3000])
def test_a_folder_is_deleted_however_deep_it_is(tmp_path: Path, levels: int) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    deep(folder, levels)
    if levels == 3000:
        assert _size(folder, MOST) > MOST  # beyond what a path can say
    (folder / "link").symlink_to(tmp_path)
    (tmp_path / "kept").touch()
    clear(folder)
    assert not folder.exists()
    assert (tmp_path / "kept").exists()


def test_a_process_that_is_gone_uses_nothing() -> None:
    assert _usage(2**22 + 1) == (0, 0, False)
    resident, threads, headless = _usage(os.getpid())
    assert not headless
    assert resident > 1 << 20
    assert threads >= 1
