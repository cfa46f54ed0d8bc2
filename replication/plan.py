"""Which runs: arms x scales x seeds."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from replication import compat
from replication.candidate import Candidate, read_candidate
from replication.certificate import Certificate
from replication.corpus import Corpus
from replication.discovered import load_discovered
from replication.measure import Planned
from replication.processes import EngineSettings
from replication.provenance import code_sha256
from replication.published import PublishedSettings, load_published
from replication.questions import Questions
from replication.record import CorpusRef, HonestSettings, Optimiser, RunSpec, Scale
from replication.settings import InputError, require

HERE = Path(__file__).parent
BASELINES = HERE / "baselines"
VARIANTS = HERE / "variants"


@dataclass(frozen=True, kw_only=True)
class CandidateSettings:
    """conf/candidates: the programs to be judged."""

    source: Literal["default", "files", "published", "discovered"]
    paths: tuple[str, ...]
    top: int | None  # of `discovered`


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Arms in display order (baselines first) and the runs that compare them; runs of one seed stand together."""

    arms: tuple[Candidate, ...]
    runs: tuple[Planned, ...]


def gather_arms(
    baselines: Sequence[str], candidates: CandidateSettings, published: PublishedSettings
) -> tuple[Candidate, ...]:
    """The baselines by name, then the candidates that the settings ask for.

    Raises:
        InputError: an unknown baseline, a file that cannot be read, no candidate at all, or one program twice.
    """
    known = sorted(path.stem for path in BASELINES.glob("*.py") if path.stem != "__init__")
    require(len(baselines) > 0, "baselines: at least one is needed to compare with")
    for name in baselines:
        require(name in known, f"baselines: unknown baseline {name!r} (known: {', '.join(known)})")
    arms = [read_candidate(BASELINES / f"{name}.py", "baseline") for name in baselines]
    return _checked_arms([*arms, *_chosen(candidates, published, {arm.id: arm.name for arm in arms})])


def build_plan(
    arms: tuple[Candidate, ...],
    scales: Mapping[str, Scale],
    *,
    seeds: Iterable[int],
    optimiser: Optimiser,
    corpus: Corpus,
    engine: EngineSettings,
    honest: HonestSettings,
    spot_check: HonestSettings,
    sampling_key: int,
    certificates: Mapping[str, Certificate],
) -> Plan:
    """All runs of all arms at all scales with all seeds.

    An arm gets the honest loss measured as `honest` says unless its certificate (by candidate id) says, for sequences
    as long as the scale's, that it does not look ahead; then `spot_check` says at how many positions the trained
    program is held to that.
    """
    runs = tuple(
        plan_run(
            arm,
            scale,
            seed,
            optimiser=optimiser,
            corpus=corpus,
            engine=engine,
            honest=honest,
            spot_check=spot_check,
            sampling_key=sampling_key,
            certificate=certificates.get(arm.id),
        )
        for seed in seeds
        for scale in scales.values()
        for arm in arms
    )
    return Plan(arms=arms, runs=runs)


def plan_run(
    arm: Candidate,
    scale: Scale,
    seed: int,
    *,
    optimiser: Optimiser,
    corpus: Corpus,
    engine: EngineSettings,
    honest: HonestSettings,
    spot_check: HonestSettings,
    sampling_key: int,
    certificate: Certificate | None,
    questions: Questions | None = None,
) -> Planned:
    """One run; which of `honest` and `spot_check` holds is told by the arm's certificate, as for `build_plan`.

    questions: of the bench, where the run is to answer them.
    """
    device = engine.resolved_device()
    causal = (
        certificate is not None and certificate.causal and max(certificate.settings.lengths) >= scale.sequence_length
    )
    spec = RunSpec(
        candidate=arm.id,
        scale=scale,
        optimiser=optimiser,
        corpus=CorpusRef(name=corpus.name, sha256=corpus.sha256, vocab_size=corpus.vocab_size),
        certified=causal,
        honest=spot_check if causal else honest,
        sampling_key=sampling_key,
        seed=seed,
        device=device,
        threads=engine.threads,
        lift=engine.lift,
        training=engine.resolved_training(),
        torch=torch.__version__,
        numpy=np.__version__,
        fla=compat.serving(device),
        code=code_sha256(),
        questions=None if questions is None else questions.sha256,
    )
    return Planned(spec=spec, candidate=arm)


def _chosen(settings: CandidateSettings, published: PublishedSettings, baselines: Mapping[str, str]) -> list[Candidate]:
    """The candidates that the settings ask for; `baselines` maps id to name."""
    if settings.source == "discovered":
        require(len(settings.paths) == 1, "candidates.paths: name the candidates.json of one search")
        if settings.top is None:
            raise InputError("candidates.top: say how many")
        return load_discovered(Path(settings.paths[0]), settings.top, baselines)
    if settings.source == "published":
        return load_published(published)
    if settings.source == "default":
        return [read_candidate(path, "candidate") for path in sorted(VARIANTS.glob("*.py")) if path.stem != "__init__"]
    require(len(settings.paths) > 0, "candidates.paths: name at least one file, e.g. 'candidates.paths=[my_mixer.py]'")
    return [read_candidate(path, "candidate") for pattern in settings.paths for path in _matches(pattern)]


def _matches(pattern: str) -> list[Path]:
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  takes absolute patterns too
    if not found:
        raise InputError(f"candidates.paths: no file matches {pattern!r}")
    return [Path(path) for path in found]


def _checked_arms(arms: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """One program once; equal names are told apart by the first digits of the program's hash."""
    by_id: dict[str, Candidate] = {}
    for arm in arms:
        if arm.id in by_id:
            raise InputError(f"{arm.origin}: the same program as {by_id[arm.id].origin}; name it once")
        by_id[arm.id] = arm
    names = [arm.name for arm in arms]
    return tuple(
        replace(arm, name=f"{arm.name}-{arm.id[:8]}") if arm.role == "candidate" and names.count(arm.name) > 1 else arm
        for arm in arms
    )
