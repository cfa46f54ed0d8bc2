"""The best programs of a search come back as they were written, or it is said why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from replication.configure import compose, configure
from replication.discovered import Discovered, candidate_files, load_discovered, write_candidates
from replication.plan import BASELINES, CandidateSettings, gather_arms
from replication.published import PublishedSettings
from replication.settings import InputError, typed


def found(number: int, **changes: Any) -> Discovered:
    fields: dict[str, Any] = {
        "name": f"Mixer {number}",
        "label": f"A mixer, the {number}th",
        "number": number,
        "fitness": 1.0 / number,
        "loss": 2.5 + number / 100,
        "baseline_losses": {"delta_net": 2.75},
        "source": f"# program {number}\n",
    }
    return Discovered(**{**fields, **changes})


@pytest.fixture
def published() -> PublishedSettings:
    return typed(PublishedSettings, compose("replicate", [])["published"], "published")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    candidates = [found(7), found(3), found(12, source=(BASELINES / "delta_net.py").read_text()), found(5)]
    write_candidates(tmp_path, "search 1", "cpu-search", "nats per token", candidates)
    return tmp_path / "candidates.json"


def test_the_best_come_first_with_their_losses_in_the_search(written: Path) -> None:
    arms = load_discovered(written, 2, {})
    assert [arm.name for arm in arms] == ["mixer_7", "mixer_3"]
    assert arms[0].source == "# program 7\n"
    assert arms[0].label == "A mixer, the 7th"
    assert arms[0].role == "candidate"
    search = arms[0].search
    assert search is not None
    assert (search.loss, search.baseline_losses, search.unit) == (2.57, {"delta_net": 2.75}, "nats per token")
    assert search.where == "experiment 7 of search 1, scale cpu-search"


def test_they_are_judged_beside_the_baselines_and_a_copy_of_one_is_left_out(
    written: Path, published: PublishedSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = CandidateSettings(source="discovered", paths=(str(written),), top=3)
    arms = gather_arms(["delta_net"], settings, published)
    assert [arm.name for arm in arms] == ["delta_net", "mixer_7", "mixer_3", "mixer_5"]
    assert "Mixer 12 is left out: the same program as delta_net" in capsys.readouterr().out


def test_one_program_found_twice_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_candidates(tmp_path, "s", "x", "nats per token", [found(1), found(2, source=found(1).source), found(3)])
    arms = load_discovered(tmp_path / "candidates.json", 5, {})
    assert [arm.name for arm in arms] == ["mixer_1", "mixer_3"]
    assert "Mixer 2 is left out: the same program as mixer_1" in capsys.readouterr().out


def test_programs_of_one_name_are_told_apart(tmp_path: Path, published: PublishedSettings) -> None:
    write_candidates(tmp_path, "s", "x", "nats per token", [found(1, name="gate"), found(2, name="gate")])
    settings = CandidateSettings(source="discovered", paths=(str(tmp_path / "candidates.json"),), top=5)
    arms = gather_arms(["delta_net"], settings, published)
    assert [arm.name for arm in arms[1:]] == [f"gate-{arm.id[:8]}" for arm in arms[1:]]


def test_a_name_without_letters_becomes_the_number(tmp_path: Path) -> None:
    write_candidates(tmp_path, "s", "x", "nats per token", [found(4, name="../+")])
    assert load_discovered(tmp_path / "candidates.json", 5, {})[0].name == "experiment_4"
    assert [path.name for path in (tmp_path / "candidates").iterdir()] == ["0004_.py"]


def test_the_files_can_be_had_as_texts() -> None:
    files = candidate_files("s", "x", "nats per token", [found(1)])
    assert list(files) == ["candidates/0001_mixer_1.py", "candidates.json"]
    assert json.loads(files["candidates.json"])["schema"] == "archaudit.candidates/1"


def test_before_any_search_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no search has been made yet: run nox -s discover first$"):
        load_discovered(tmp_path / "candidates.json", 5, {})


def test_a_program_that_was_changed_is_refused(written: Path) -> None:
    program = next((written.parent / "candidates").glob("0003*"))
    program.write_text("# another\n")
    with pytest.raises(InputError, match=r"0003_mixer_3\.py: this program was changed since the search"):
        load_discovered(written, 5, {})
    program.unlink()
    with pytest.raises(InputError, match=r"0003_mixer_3\.py: cannot read this candidate"):
        load_discovered(written, 5, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "archaudit.candidates/2"}, "not a list of candidates of schema archaudit.candidates/1"),
        ({"unit": 5}, "unit: expected a text, got 5"),
        ({"candidates": []}, "holds no candidate"),
        ({"other": 1}, "other: unknown setting"),
    ],
)
def test_a_damaged_list_is_named(written: Path, change: dict[str, Any], message: str) -> None:
    written.write_text(json.dumps({**json.loads(written.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        load_discovered(written, 5, {})


def test_a_file_outside_the_folder_is_refused(written: Path) -> None:
    (written.parent.parent / "elsewhere.py").write_text("# program 7\n")
    document = json.loads(written.read_text())
    document["candidates"][0]["file"] = "../elsewhere.py"
    written.write_text(json.dumps(document))
    with pytest.raises(InputError, match="lies outside its folder"):
        load_discovered(written, 5, {})


def test_the_command_line_chooses_how_many_of_which_search() -> None:
    settings = configure(["candidates=discovered", "top=3", "paths.results=here"]).bench.candidates
    assert settings == CandidateSettings(
        source="discovered", paths=("here/discover/latest/candidates.json",), top=3
    )  # fmt: skip
    assert configure([]).bench.candidates.top is None
    with pytest.raises(InputError, match="^top: at least 1 is needed, got 0$"):
        configure(["top=0"])
