"""Archives on both databases, and experiments to put in them."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
import sqlalchemy as sa

from loop.records import Attempt, Component, Experiment


class ExperimentFactory(Protocol):
    def __call__(self, number: int, **overrides: Any) -> Experiment: ...


@pytest.fixture(params=["sqlite", "postgresql"])
def archive_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database; on the server, of a schema that goes with the test."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'archive.db'}"
        return
    server = os.environ.get("ARCHAUDIT_POSTGRES")
    if not server:
        pytest.skip("ARCHAUDIT_POSTGRES is not set: no PostgreSQL server on this machine")
    schema = f"test_{uuid.uuid4().hex}"
    url = sa.make_url(server).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
    own = url.update_query_dict({"options": f"-csearch_path={schema}"})
    yield own.render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")


def make_attempt(**overrides: Any) -> Attempt:
    fields: dict[str, Any] = {
        "stage": "propose",
        "name": "gated",
        "motivation": "It forgets; a gate keeps.",
        "source": "class Mixer: ...\n",
        "verdict": "accepted",
        "reason": "",
        "certificate": {check: {"outcome": "certified", "detail": ""} for check in ("future", "batch")},
        "nearest": ({"number": 0, "similarity": 0.25},),
        "truth": {"genome": {"core": "delta_rule"}, "components": [], "mistakes": []},
    }
    return Attempt(**{**fields, **overrides})


def make_experiment(number: int, **overrides: Any) -> Experiment:
    fields: dict[str, Any] = {
        "number": number,
        "name": f"gated_{number}",
        "status": "ok",
        "reason": "",
        "parent": number - 1 if number else None,
        "references": (),
        "entries": ("forgetting",),
        "seed": 7 + number,
        "motivation": "It forgets; a gate keeps.",
        "source": "class Mixer: ...\n",
        "attempts": (make_attempt(name=f"gated_{number}"),),
        "run_id": f"run{number}",
        "loss": 2.0 + 0.1 / (number + 3),
        "honest_loss": 2.0 + 0.1 / (number + 3),
        "looks_ahead": False,
        "certified": True,
        "benchmarks": {"next_token": 0.5, "multi_query_recall": 0.25},
        "marks": {"innovation": 5.0, "complexity": 6.0, "performance": 7.0},
        "mark": 6.0,
        "fitness": {"paper": 0.5, "strict": 0.4},
        "rules": {"one_sided": False},
        "parameters": 1000,
        "flops": 1e6,
        "analysis": {"worked": "the gate", "failed": "", "weakness": "loss flattens early"},
        "components": (Component(component="output_gate_silu", origin="analysis", labelled_by="truth"),),
        "truth": {"genome": {"core": "delta_rule"}, "components": [], "mistakes": []},
        "device_seconds": 1.5,
        "timings": {"train": 1.25},
    }
    return Experiment(**{**fields, **overrides})


@pytest.fixture
def experiment() -> ExperimentFactory:
    """`experiment(number, **overrides)`: one that went well."""
    return make_experiment


@pytest.fixture
def rejected() -> Experiment:
    return make_rejected()


def make_rejected() -> Experiment:
    """Number 1: two versions were proposed, a leaky one and a duplicate; nothing was trained."""
    nothing = ("run_id", "loss", "honest_loss", "looks_ahead", "certified", "mark", "parameters", "flops")
    leak = {
        "future": {"outcome": "violated", "detail": "sees 1 ahead"},
        "batch": {"outcome": "certified", "detail": ""},
    }
    leaky = make_attempt(verdict="leaky", reason="sees 1 ahead", certificate=leak)
    mistakes = [{"kind": "leak", "family": "shift"}]
    attempts = (
        make_attempt(verdict="duplicate", reason="like 0", certificate=None, truth={"mistakes": []}),
        Attempt(**{**leaky.__dict__, "truth": {"mistakes": mistakes}}),
    )
    empty = {name: {} for name in ("benchmarks", "marks", "fitness", "rules", "analysis", "timings")}
    rest = {"status": "rejected", "reason": "no version was accepted", "attempts": attempts, "device_seconds": 0.5}
    return make_experiment(1, **dict.fromkeys(nothing), **empty, **rest, components=())
