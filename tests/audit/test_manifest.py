"""The manifest says what made a report, and says null where it cannot know."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from audit.finding import canonical_json
from audit.manifest import git_state, manifest, plan_sha256
from replication.settings import InputError

PLAN = {"sesoi": 0.02, "level": 0.95}


def build(tmp_path, **changes):
    fields = {
        "config": {"seeds": 5}, "plan": PLAN, "registered_plan": plan_sha256(PLAN),
        "command": ["archaudit"], "seeds": [0, 1],
        "inputs": {}, "project": tmp_path, "started": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "finished": datetime(2026, 1, 1, 15, tzinfo=timezone(timedelta(hours=2))),
    }  # fmt: skip
    return manifest(**(fields | changes))


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_a_manifest_holds_everything_a_reader_needs_to_repeat_the_session(tmp_path):
    (tmp_path / "gallery.json").write_bytes(b"[]")
    made = build(tmp_path, inputs={"published programs": tmp_path / "gallery.json"})
    assert made["inputs"] == [
        {"what": "published programs", "file": "gallery.json", "sha256": hashlib.sha256(b"[]").hexdigest()}
    ]
    assert (made["started"], made["finished"]) == ("2026-01-01T12:00:00+00:00", "2026-01-01T13:00:00+00:00")
    assert made["packages"]["numpy"] == np.__version__
    assert made["hardware"]["cores"] >= 1
    assert canonical_json(made)


def test_a_plan_that_differs_from_the_registered_one_is_flagged(tmp_path):
    assert build(tmp_path)["decision_plan"]["as_registered"] is True
    assert build(tmp_path, plan=PLAN | {"sesoi": 0.05})["decision_plan"]["as_registered"] is False


def test_a_missing_input_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json: cannot be read"):
        build(tmp_path, inputs={"x": tmp_path / "nowhere.json"})


def test_git_state_knows_clean_dirty_and_no_repository(tmp_path):
    assert git_state(tmp_path) == (None, None)
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    commit, dirty = git_state(tmp_path)
    assert (len(commit), dirty) == (40, False)
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path) == (commit, True)


def test_a_copy_inside_somebody_elses_repository_has_no_commit(tmp_path):
    git(tmp_path, "init", "--quiet")
    (tmp_path / "inner").mkdir()
    assert git_state(tmp_path / "inner") == (None, None)


def test_git_not_installed_is_not_an_error(tmp_path, monkeypatch):
    git(tmp_path, "init", "--quiet")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == (None, None)
