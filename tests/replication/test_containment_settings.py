"""What a confined process says, what is demanded of it, and the settings of both."""

from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from replication.configure import configure
from replication.containment import LAYERS, ContainmentSettings, Layer, checked_layers, describe
from replication.settings import InputError
from tests.replication.confined import (
    SETTINGS,
    run_fork,
    tried,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")


def layers_with(**texts: str) -> dict[Layer, str]:
    layers: dict[Any, str] = dict.fromkeys(LAYERS, "on somehow") | texts
    return layers


def test_a_missing_layer_is_refused_only_where_it_is_demanded() -> None:
    told = layers_with(files="off: Landlock is not in this kernel", network="off: an own network is forbidden")
    assert checked_layers(told, SETTINGS) == told
    strict = dataclasses.replace(SETTINGS, minimum=LAYERS)
    assert checked_layers(layers_with(), strict) == layers_with()
    with pytest.raises(InputError) as refusal:
        checked_layers(told, strict)
    assert str(refusal.value) == (
        "engine.containment.minimum: the layer 'files' is off here (Landlock is not in this kernel); "
        "the layer 'network' is off here (an own network is forbidden); nothing was run"
    )


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        dict.fromkeys(LAYERS[1:], "on"),
        {**layers_with(), "more": "on"},
        layers_with(files=""),
        layers_with(files="x" * 201),
        layers_with(files="two\nlines"),
        {**layers_with(), "files": 1},
    ],
)
def test_a_malformed_answer_is_no_list_of_layers(told: object) -> None:
    with pytest.raises(ValueError, match="malformed"):
        checked_layers(told, SETTINGS)


def test_layers_are_described_in_one_line_with_the_missing_ones_last() -> None:
    line = describe(layers_with(limits="off: why", system_calls="seccomp filter"))
    assert line.startswith("privileges: on somehow; ")
    assert "system calls: seccomp filter" in line
    assert line.endswith("; limits: off: why")


def test_unconfined_says_so_of_every_layer(folder: Path) -> None:
    layers, outcomes = tried(folder, {"fork": run_fork}, settings=dataclasses.replace(SETTINGS, confine=False))
    assert set(layers) == set(LAYERS)
    assert set(layers.values()) == {"off: engine.containment.confine is false"}
    assert outcomes == {"fork": "done"}


def test_the_three_choices_of_confinement_are_in_the_configuration() -> None:
    def settings(name: str) -> ContainmentSettings:
        return configure([f"containment={name}"]).bench.engine.containment

    assert settings("default").minimum == ()
    assert settings("strict") == dataclasses.replace(settings("default"), minimum=LAYERS)
    assert (settings("default").confine, settings("off").confine) == (True, False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": 0}, "engine.containment.threads: must be above 0"),
        ({"confine": False, "minimum": ("files",)}, "engine.containment.confine: false"),
        ({"confine": False, "bubblewrap": "always"}, "engine.containment.confine: false"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        dataclasses.replace(SETTINGS, **change)
