"""Each hostile program is stopped: no escape, no tampered score, the right status, and nothing left of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.ordinary_user import why_not
from tests.hostile.program_files import LAYERS, read_program, read_programs
from tests.hostile.stage import Stage, stage
from tests.hostile.table import measured_as_ordinary_user

PROGRAMS = {program.name: program for program in read_programs()}
WORKING = {  # without confinement: what is then seen
    "read_ssh_key": "escaped: ",
    "read_corpus_source": "escaped: ",
    "write_cron_job": "changed cron/nightly",
    "write_modes": "escaped: ",
    "write_shared_folders": "wrote /tmp/",
    "network_tcp4": "reached TCP over IPv4",
    "network_udp": "reached UDP over IPv4",
    "network_unix_socket": "reached a socket file",
    "signal_kill": "harmed the bystander",
    "signal_parents": "signalled the parent",
    "process_daemon": "left process ",
}
SAMPLE = (
    *("read_ssh_key", "read_corpus_source", "read_process_memory", "write_modes", "write_shared_folders"),
    *("process_fork_bomb", "process_new_session", "network_tcp4", "network_unix_socket", "signal_kill"),
    *("signal_ptrace", "memory_shared", "forge_logits", "ahead_by_files"),
)


# In a joint training the program has the recipe in hand: what is then seen. Every score is that of the weights.
JOINT = {
    "forge_gradients": "status ok",
    "lie_subclass": "honest loss ",
    "patch_losses": "honest loss ",
    "patch_optimiser": "status crashed",
    "patch_project": "honest loss ",
    "score_late_parameters": "honest loss ",
    "score_search_frames": "escaped: ",
    "score_search_objects": "escaped: ",
}
JOINT_SAMPLE = (
    *("ahead_after_calls", "ahead_by_files", "ahead_by_memory", "ahead_in_evaluation", "disk_big_file", "flood_frame"),
    *("flood_socket", "forge_checkpoint", "forge_descriptors", "forge_done", "forge_failed", "forge_logits"),
    *("forge_parameters", "forge_peek", "forge_replay", "forge_shared_memory", "forge_state", "lie_shape"),
    *("loop_backward", "loop_evaluation", "memory_tensors", "network_tcp4", "patch_serialisation", "pickle_state"),
    *("process_fork_bomb", "read_ledger", "read_validation_text", "score_nan_training", "score_parameters_in_place"),
    *("score_infinite_evaluation", "score_train_longer", "signal_kill", "signal_outlive", "write_results"),
)


@pytest.fixture(scope="module")
def place() -> Iterator[Stage]:
    with stage() as place:
        yield place


@pytest.fixture(scope="module")
def open_place() -> Iterator[Stage]:
    with stage(confine=False) as place:
        yield place


@pytest.fixture(scope="module")
def joint_place() -> Iterator[Stage]:
    with stage(training="joint") as place:
        yield place


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_hostile_program_achieves_nothing(place: Stage, name: str) -> None:
    assert place.run(PROGRAMS[name]).faults == []


@pytest.mark.parametrize("name", WORKING)
def test_without_confinement_it_succeeds_and_is_seen(open_place: Stage, name: str) -> None:
    assert WORKING[name] in "; ".join(open_place.run(PROGRAMS[name]).faults)


@pytest.mark.parametrize("name", JOINT_SAMPLE)
def test_a_sample_achieves_nothing_in_a_joint_training(joint_place: Stage, name: str) -> None:
    assert joint_place.run(PROGRAMS[name]).faults == []


@pytest.mark.parametrize("name", JOINT)
def test_what_a_joint_training_leaves_open_is_the_recipe(joint_place: Stage, name: str) -> None:
    faults = "; ".join(joint_place.run(PROGRAMS[name]).faults)
    assert JOINT[name] in faults
    assert not any(word in faults for word in ("behind", "changed", "reached", "harmed", "signalled", "grew"))


def test_a_sample_achieves_nothing_as_an_ordinary_user() -> None:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    rows = measured_as_ordinary_user(PROGRAMS[name] for name in SAMPLE)
    assert {row["program"]: row["faults"] for row in rows} == dict.fromkeys(SAMPLE, "")
    assert {row["user"] for row in rows} == {"nobody"}


def test_every_kind_of_defence_is_tried() -> None:
    assert {program.layer for program in PROGRAMS.values()} == set(LAYERS)
    assert len(PROGRAMS) >= 48


def test_a_program_with_an_unknown_word_in_its_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.py"
    path.write_text(
        "# attack: none\n# layer: luck\n# where: import\n# status: ok\n# score: same\n\n\ndef attack():\n    pass\n"
    )
    with pytest.raises(ValueError, match=r"odd.py: a header with unknown words: .*luck"):
        read_program(path)
