"""Settings are checked strictly, and every message gives the full name of what is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from replication.settings import InputError, typed


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float
    mode: Literal["fast", "slow"]


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    name: str
    on: bool
    limit: float | None
    paths: tuple[str, ...]
    groups: dict[str, Inner]
    inner: Inner


def good() -> dict[str, Any]:
    inner = {"rate": 0.5, "mode": "fast"}
    return {
        "count": 3,
        "name": "n",
        "on": True,
        "limit": None,
        "paths": ["a", "b"],
        "groups": {"g": inner},
        "inner": inner,
    }


def test_a_complete_mapping_becomes_a_typed_object() -> None:
    inner = Inner(rate=0.5, mode="fast")
    expected = Outer(count=3, name="n", on=True, limit=None, paths=("a", "b"), groups={"g": inner}, inner=inner)
    assert typed(Outer, good(), "") == expected


def test_a_whole_number_serves_where_a_number_is_expected() -> None:
    built = typed(Outer, {**good(), "limit": 2}, "")
    assert (built.limit, type(built.limit)) == (2.0, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cuont": 3}, "top.cuont: unknown setting (known here: count, name, on, limit, paths, groups, inner)"),
        ({"count": "3"}, "top.count: expected a whole number, got '3'"),
        ({"count": 3.0}, "top.count: expected a whole number, got 3.0"),
        ({"count": True}, "top.count: expected a whole number, got True"),
        ({"count": None}, "top.count: expected a whole number, got None"),
        ({"name": 5}, "top.name: expected a text, got 5"),
        ({"on": 1}, "top.on: expected true or false, got 1"),
        ({"on": "yes"}, "top.on: expected true or false, got 'yes'"),
        ({"limit": "none"}, "top.limit: expected a number, got 'none'"),
        ({"limit": math.nan}, "top.limit: expected a number, got nan"),
        ({"limit": math.inf}, "top.limit: expected a number, got inf"),
        ({"limit": True}, "top.limit: expected a number, got True"),
        ({"limit": 10**400}, "top.limit: expected a number, got 1000"),
        ({"paths": "a"}, "top.paths: expected a list, got 'a'"),
        ({"paths": ["a", 2]}, "top.paths[1]: expected a text, got 2"),
        ({"groups": ["a"]}, "top.groups: expected a mapping, got ['a']"),
        ({"groups": {"g": {"rate": 1.0}}}, "top.groups.g.mode: setting is missing"),
        ({"inner": 4}, "top.inner: expected a group of settings, got 4"),
        ({"inner": {"rate": "x", "mode": "fast"}}, "top.inner.rate: expected a number, got 'x'"),
        ({"inner": {"rate": 1.0, "mode": "quick"}}, "top.inner.mode: expected one of fast, slow; got 'quick'"),
        ({"inner": {"rate": 1.0, "mode": ["fast"]}}, "top.inner.mode: expected one of fast, slow; got ['fast']"),
    ],
)
def test_a_wrong_value_is_reported_by_its_full_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        typed(Outer, {**good(), **change}, "top")
    assert str(caught.value).startswith(message)


def test_a_missing_setting_is_reported_by_its_full_name() -> None:
    with pytest.raises(InputError, match=r"^top\.name: setting is missing$"):
        typed(Outer, {key: value for key, value in good().items() if key != "name"}, "top")


def test_at_the_top_of_the_configuration_a_name_has_no_prefix() -> None:
    with pytest.raises(InputError, match=r"^count: expected"):
        typed(Outer, {**good(), "count": "x"}, "")
