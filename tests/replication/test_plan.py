"""Which arms a configuration asks for, and which runs compare them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from replication.certificate import CHECKS, Certificate, CertificateSettings, CheckResult, Outcome
from replication.configure import compose
from replication.plan import BASELINES, VARIANTS, CandidateSettings, Plan, build_plan, gather_arms
from replication.provenance import code_sha256
from replication.published import PublishedSettings
from replication.record import HonestSettings
from replication.settings import InputError, typed


@pytest.fixture(scope="module")
def published() -> PublishedSettings:
    return typed(PublishedSettings, compose("replicate", [])["published"], "published")


SPOT = HonestSettings(positions=8, draws=1)


def files(*paths: Path | str) -> CandidateSettings:
    return CandidateSettings(source="files", paths=tuple(map(str, paths)), top=None)


def write(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(f"# {folder.name}/{name}")
    return [folder / name for name in names]


def names(arms: tuple[Any, ...]) -> list[str]:
    return [arm.name for arm in arms]


def test_baselines_come_first_in_the_order_given_then_files_in_theirs(
    tmp_path: Path, published: PublishedSettings
) -> None:
    own = write(tmp_path, "b.py", "a.py")
    arms = gather_arms(["gated_delta_net", "delta_net"], files(*own), published)
    assert names(arms) == ["gated_delta_net", "delta_net", "b", "a"]
    assert [arm.role for arm in arms] == ["baseline", "baseline", "candidate", "candidate"]
    assert arms[0].source == (BASELINES / "gated_delta_net.py").read_text()


def test_a_pattern_stands_for_its_files_in_order_at_any_depth(tmp_path: Path, published: PublishedSettings) -> None:
    write(tmp_path, "b.py", "a.py", "note.txt")
    write(tmp_path / "deep", "c.py")
    arms = gather_arms(["delta_net"], files(f"{tmp_path}/**/*.py"), published)
    assert names(arms) == ["delta_net", "a", "b", "c"]


def test_by_default_the_projects_own_variants_are_judged(published: PublishedSettings) -> None:
    arms = gather_arms(["delta_net"], CandidateSettings(source="default", paths=(), top=None), published)
    assert names(arms[1:]) == sorted(path.stem for path in VARIANTS.glob("*.py") if path.stem != "__init__")
    assert len(arms) > 2


def test_equal_names_are_told_apart_by_the_programs_hash(tmp_path: Path, published: PublishedSettings) -> None:
    own = write(tmp_path / "one", "mixer.py") + write(tmp_path / "two", "mixer.py", "delta_net.py")
    arms = gather_arms(["delta_net"], files(*own), published)
    assert names(arms) == [
        "delta_net", f"mixer-{arms[1].id[:8]}", f"mixer-{arms[2].id[:8]}", f"delta_net-{arms[3].id[:8]}"
    ]  # fmt: skip
    assert len({arm.name for arm in arms}) == 4


def test_one_program_twice_is_an_input_error(tmp_path: Path, published: PublishedSettings) -> None:
    write(tmp_path, "a.py")
    (tmp_path / "copy.py").write_text((tmp_path / "a.py").read_text())
    with pytest.raises(InputError, match=r"^copy\.py: the same program as a\.py; name it once$"):
        gather_arms(["delta_net"], files(tmp_path / "a.py", tmp_path / "copy.py"), published)
    with pytest.raises(InputError, match=r"^delta_net\.py: the same program as delta_net\.py"):
        gather_arms(["delta_net"], files(BASELINES / "delta_net.py"), published)


@pytest.mark.parametrize(
    ("baselines", "candidates", "message"),
    [
        ([], files("x.py"), "^baselines: at least one is needed"),
        (["delta_nets"], files("x.py"), "^baselines: unknown baseline 'delta_nets' [(]known: .*gated_delta_net"),
        (["../plan"], files("x.py"), "^baselines: unknown baseline"),
        (["delta_net"], files(), "^candidates.paths: name at least one file"),
        (["delta_net"], files("/nowhere/*.py"), "^candidates.paths: no file matches '/nowhere/[*].py'$"),
    ],
)
def test_arms_that_do_not_exist_are_named(
    baselines: list[str], candidates: CandidateSettings, message: str, published: PublishedSettings
) -> None:
    with pytest.raises(InputError, match=message):
        gather_arms(baselines, candidates, published)


def make_plan(rig: Any, **changes: Any) -> Plan:
    arms = (rig.candidate("a = 1", "a"), rig.candidate("b = 1", "b"))
    scales = {name: dataclasses.replace(rig.scale, name=name) for name in ("small", "large")}
    settings = {"seeds": range(10, 13), "optimiser": rig.optimiser, "corpus": rig.corpus, "engine": rig.worker.settings}
    settings |= {"honest": rig.honest, "spot_check": SPOT, "certificates": {}, "sampling_key": 11}
    return build_plan(arms, scales, **{**settings, **changes})


def certificate(source: str, **outcomes: Outcome) -> Certificate:
    settings = typed(CertificateSettings, compose("replicate", [])["certificate"], "certificate")
    checks = {
        check: CheckResult(outcome=outcomes.get(check, "certified"), detail="-", size=0.0, limit=0.0, violations=())
        for check in CHECKS
    }
    return Certificate(
        candidate=source,
        checks=dict(checks),
        settings=settings,
        device="cpu",
        torch="2",
        code="0",
        complete=True,
        parameters=1,
        notes=(),
    )


@pytest.mark.parametrize(
    ("outcomes", "certified"),
    [
        ({}, True),
        ({"length": "violated", "mode": "not_runnable", "cost": "violated"}, True),
        ({"future": "violated"}, False),
        ({"batch": "violated"}, False),
        ({"future": "not_runnable"}, False),
        ({"batch": "not_runnable"}, False),
    ],
)
def test_a_program_certified_not_to_look_ahead_is_only_held_to_it_at_a_few_positions(
    rig: Any, outcomes: dict[str, Outcome], certified: bool
) -> None:
    arm = make_plan(rig).arms[0]
    plan = make_plan(rig, certificates={arm.id: certificate(arm.id, **outcomes)})
    honest = {(run.candidate.name, run.spec.honest) for run in plan.runs}
    assert {(run.candidate.name, run.spec.certified) for run in plan.runs} == {("a", certified), ("b", False)}
    assert honest == {("a", SPOT if certified else rig.honest), ("b", rig.honest)}


def test_a_plan_is_every_arm_at_every_scale_with_every_seed_and_seeds_stay_together(rig: Any) -> None:
    plan = make_plan(rig)
    order = [(run.spec.seed, run.spec.scale.name, run.candidate.name) for run in plan.runs]
    assert order == [(seed, scale, arm) for seed in (10, 11, 12) for scale in ("small", "large") for arm in ("a", "b")]
    assert len({run.run_id for run in plan.runs}) == 12


def test_a_planned_run_carries_all_that_decides_its_numbers(rig: Any) -> None:
    engine = dataclasses.replace(rig.worker.settings, threads=3, lift=False, training="joint")
    run = make_plan(rig, engine=engine).runs[0]
    assert run.spec.candidate == run.candidate.id
    assert run.spec.corpus.sha256 == rig.corpus.sha256
    assert (run.spec.threads, run.spec.torch, run.spec.code) == (3, torch.__version__, code_sha256())
    assert (run.spec.device, run.spec.lift, run.spec.training) == ("cpu", False, "joint")


def test_a_plan_made_twice_asks_for_the_same_runs(rig: Any) -> None:
    one, other = make_plan(rig), make_plan(rig)
    assert [run.run_id for run in one.runs] == [run.run_id for run in other.runs]


def test_a_certificate_does_not_speak_for_sequences_longer_than_it_was_made_with(rig: Any) -> None:
    arm = make_plan(rig).arms[0]
    short = certificate(arm.id)
    short = dataclasses.replace(short, settings=dataclasses.replace(short.settings, lengths=(8, 31)))
    plan = make_plan(rig, certificates={arm.id: short})
    assert {run.spec.certified for run in plan.runs} == {False}
