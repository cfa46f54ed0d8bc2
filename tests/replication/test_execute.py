"""A plan brought into a ledger in this process: what is measured, reused, shown and kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from replication.execute import Progress, _run_claimed, execute
from replication.ledger import Ledger
from replication.measure import Bench, Planned, Probe
from replication.plan import Plan
from replication.record import RunRecord

PROBE = Probe(parameters=1, flops_per_step=1.0, seconds_per_step=0.1, error=None)


def hungry(rig: Any) -> str:
    """A program that asks for 0.8 GB for a moment."""
    source: str = rig.source(forward="torch.empty(2 * 10**8)")
    return source


def plan_of(rig: Any, sources: dict[str, str], seeds: range) -> Plan:
    arms = tuple(rig.candidate(source, name) for name, source in sources.items())
    runs = tuple(Planned(spec=rig.spec(arm.source, seed=seed), candidate=arm) for seed in seeds for arm in arms)
    return Plan(arms=arms, runs=runs)


def statuses(plan: Plan, ledger: Ledger) -> list[tuple[str, int, str]]:
    records = [ledger.find(run.run_id) for run in plan.runs]
    return [(record.name, record.spec.seed, record.status) for record in records if record is not None]


def curve_of(folder: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("train/loss")]


def test_a_plan_with_a_broken_arm_is_finished_shown_and_then_reused(
    rig: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(rig, {"good": rig.source(), "broken": "import socket"}, range(2))
    ledger, curves = Ledger(tmp_path / "ledger"), tmp_path / "curves"
    execute(plan, ledger, rig.bench(), curves)
    shown = capsys.readouterr()
    assert statuses(plan, ledger) == [
        ("good", 0, "ok"), ("broken", 0, "crashed"), ("good", 1, "ok"), ("broken", 1, "crashed")
    ]  # fmt: skip

    lines = shown.out.splitlines()
    assert lines[0] == "4 runs: 0 in the ledger, 4 to do"
    probe = rig.bench().probe(rig.worker, plan.runs[0])
    row = next(line.split() for line in lines if line.startswith("tiny") and "good" in line)
    assert row[:4] == ["tiny", "good", f"{probe.parameters:,}", f"{(probe.flops_per_step or 0) * 12:.2e}"]
    assert row[5] == "2"
    assert any("broken" in line and "does not run: line 1 imports 'socket'" in line for line in lines)
    assert "estimated time: 0.0 minutes with 1 worker(s)" in lines
    assert "tiny broken seed 0: crashed (line 1 imports 'socket', which is not allowed)" in lines
    assert "4/4 runs, 2 failed" in shown.err

    good = plan.runs[0]
    expected = ledger.curve(good.run_id).tolist()
    (folder,) = (curves / "tiny").glob(f"good-seed0-{good.run_id[:8]}")
    assert curve_of(folder) == list(enumerate(expected, start=1))
    assert list((ledger.root / "work").iterdir()) == []

    before = [ledger.find(run.run_id) for run in plan.runs]
    execute(plan, ledger, rig.bench(), curves)
    assert capsys.readouterr().out == "4 runs: 4 in the ledger, 0 to do\n"
    assert [ledger.find(run.run_id) for run in plan.runs] == before


@pytest.fixture
def claimed(rig: Any, tmp_path: Path) -> Callable[..., RunRecord | None]:
    """_run_claimed on one run, by the warm worker of the session."""

    def run(ledger: Ledger, bench: Bench | None = None) -> RunRecord | None:
        planned = rig.planned(hungry(rig))
        with Progress([planned], {(planned.spec.candidate, "tiny"): PROBE}, tmp_path / "curves") as progress:
            return _run_claimed(rig.worker, planned, PROBE, ledger, bench or rig.bench(), progress)

    return run


def test_a_run_that_another_process_holds_is_left_for_later(rig: Any, tmp_path: Path, claimed: Any) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with Ledger(ledger.root).claim(rig.planned(hungry(rig)).run_id):
        assert claimed(ledger) is None
    record = claimed(ledger)
    assert record.status == "ok"


def test_a_run_that_another_process_has_stored_meanwhile_is_not_measured_again(
    rig: Any, tmp_path: Path, claimed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    stored = claimed(ledger)
    monkeypatch.setattr(Bench, "measure", lambda *_: pytest.fail("measured again"))
    assert claimed(ledger) == stored


def test_a_run_that_failed_for_the_machine_is_measured_again(rig: Any, tmp_path: Path, claimed: Any) -> None:
    ledger = Ledger(tmp_path / "ledger")
    starved = claimed(ledger, rig.bench(memory_gib=0.6))
    assert starved.status == "out_of_memory"
    assert claimed(ledger).status == "ok"
    found = ledger.find(starved.run_id)
    assert found is not None
    assert found.status == "ok"


def test_a_resumed_run_shows_one_curve_and_never_moves_the_bar_back(
    rig: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = rig.planned(rig.source())
    probes = {(planned.spec.candidate, "tiny"): PROBE}
    with Progress([planned], probes, tmp_path) as progress:
        with progress.curve(planned) as on_steps:
            on_steps(0, np.array([5.0, 4.0, 3.0], dtype=np.float32))
        with progress.curve(planned) as on_steps:
            on_steps(0, np.array([5.0, 4.0], dtype=np.float32))
            on_steps(2, np.array([3.5], dtype=np.float32))
        assert progress._bar.n == pytest.approx(3 * 0.1)
    (folder,) = (tmp_path / "tiny").iterdir()
    assert curve_of(folder) == [(1, 5.0), (2, 4.0), (3, 3.5)]


def test_arms_that_share_a_seed_and_a_name_keep_their_curves_apart(rig: Any, tmp_path: Path) -> None:
    one = rig.planned(rig.source())
    other = dataclasses.replace(one, spec=dataclasses.replace(one.spec, code="0"))
    probes = {(one.spec.candidate, "tiny"): PROBE}
    with Progress([one, other], probes, tmp_path) as progress:
        for planned, loss in ((one, 1.0), (other, 2.0)):
            with progress.curve(planned) as on_steps:
                on_steps(0, np.array([loss], dtype=np.float32))
    assert sorted(curve_of(folder)[0][1] for folder in (tmp_path / "tiny").iterdir()) == [1.0, 2.0]
