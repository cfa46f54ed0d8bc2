"""The zoo and its graded leaks: which programs there are, and their runs and certificates as tables of evidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from audit.evidence import printable
from audit.sources.certificates import certificate_rows
from audit.threshold.evidence import CERTIFICATE_COLUMNS, PROPOSAL_COLUMNS
from replication.candidate import Candidate
from replication.certificate import Certificate
from replication.leaks import ZOO, read_specimen
from replication.ledger import Ledger
from replication.measure import Planned
from replication.record import RunRecord
from replication.settings import InputError, require

FROM_VIOLATION = ("first_output", "position", "seed", "mode", "length", "dtype", "gradient")


@dataclass(frozen=True, kw_only=True)
class ZooSettings:
    """conf/audit_threshold.yaml, `zoo`. specimens: names, None for all; scales: where they are trained."""

    specimens: tuple[str, ...] | None
    scales: tuple[str, ...]

    def __post_init__(self) -> None:
        known = [specimen.name for specimen in ZOO]
        for name in self.specimens or ():
            require(name in known, f"zoo.specimens: unknown specimen {name!r} (known: {', '.join(known)})")


@dataclass(frozen=True, kw_only=True)
class MixedSettings:
    """conf/audit_threshold.yaml, `mixed`. strengths are trained and certified, faint ones only certified."""

    families: tuple[str, ...]
    strengths: tuple[float, ...]
    faint: tuple[float, ...]
    scales: tuple[str, ...]

    def __post_init__(self) -> None:
        graded = [specimen.name for specimen in ZOO if specimen.graded]
        for name in self.families:
            require(name in graded, f"mixed.families: {name!r} is no graded leak (those are: {', '.join(graded)})")
        every = [*self.strengths, *self.faint]
        require(all(0 <= strength <= 1 for strength in every), "mixed.strengths: must lie between 0 and 1")
        require(len(set(every)) == len(every), "mixed.strengths: a strength stands there twice (or in mixed.faint too)")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A program of the audit. family: the specimen's name, empty for others; strength: NaN where there is none.

    scales: names of those at which it is trained; empty where it is only certified.
    """

    source: Literal["zoo", "mixed", "asi_arch"]
    key: str  # what its rows are called in the column `candidate`
    family: str
    strength: float
    candidate: Candidate
    scales: tuple[str, ...]


def zoo_subjects(settings: ZooSettings, others: Sequence[Candidate]) -> list[Subject]:
    """Every specimen at full strength, then `others`: baselines and candidates."""
    names = tuple(specimen.name for specimen in ZOO) if settings.specimens is None else settings.specimens
    graded = {specimen.name for specimen in ZOO if specimen.graded}
    specimens = [_specimen("zoo", name, 1.0 if name in graded else math.nan, settings.scales) for name in names]
    return specimens + [
        Subject(source="zoo", key=other.id, family="", strength=math.nan, candidate=other, scales=settings.scales)
        for other in others
    ]


def mixed_subjects(settings: MixedSettings) -> list[Subject]:
    """Every family at every strength, trained or only certified."""
    trained = dict.fromkeys(settings.strengths, settings.scales) | dict.fromkeys(settings.faint, ())
    return [
        _specimen("mixed", name, strength, scales)
        for name in settings.families
        for strength, scales in sorted(trained.items())
    ]


def published_subjects(programs: Mapping[int, Candidate]) -> list[Subject]:
    """Published programs by index; never trained here."""
    return [
        Subject(source="asi_arch", key=str(index), family="", strength=math.nan, candidate=program, scales=())
        for index, program in sorted(programs.items())
    ]


def _specimen(source: Literal["zoo", "mixed"], name: str, strength: float, scales: tuple[str, ...]) -> Subject:
    candidate = read_specimen(name) if math.isnan(strength) else read_specimen(name, strength)
    return Subject(source=source, key=candidate.id, family=name, strength=strength, candidate=candidate, scales=scales)


def proposal_table(
    subjects: Sequence[Subject], runs: Iterable[Planned], ledger: Ledger, baseline: Candidate
) -> pd.DataFrame:
    """One row a subject, scale and seed (`PROPOSAL_COLUMNS`); the baseline itself has none.

    Raises:
        InputError: the ledger lacks a run.
    """
    records: dict[tuple[str, str, int], RunRecord] = {}
    for planned in runs:
        record = ledger.find(planned.run_id)
        if record is None:
            raise InputError(
                f"run {planned.run_id} is not in {ledger.root}; the same command goes on with what is missing"
            )
        records[planned.spec.candidate, planned.spec.scale.name, planned.spec.seed] = record
    seeds = sorted({seed for _, _, seed in records})
    rows = [
        _proposal_row(subject, records[subject.candidate.id, scale, seed], records[baseline.id, scale, seed])
        for subject in subjects
        if subject.candidate.id != baseline.id
        for scale in subject.scales
        for seed in seeds
    ]
    return pd.DataFrame(rows, columns=list(PROPOSAL_COLUMNS))


def _proposal_row(subject: Subject, record: RunRecord, baseline: RunRecord) -> dict[str, object]:
    return {
        "source": subject.source,
        "scale": record.spec.scale.name,
        "candidate": subject.key,
        "name": printable(subject.candidate.name),
        "family": subject.family,
        "strength": subject.strength,
        "seed": record.spec.seed,
        "status": record.status,
        "loss": _or_nan(record.val_loss),
        "honest_loss": _or_nan(record.honest_loss),
        "leak_gain": _or_nan(record.leak_gain),
        "leak_gain_se": _or_nan(record.leak_gain_se),
        "baseline_loss": _or_nan(baseline.val_loss),
        "benchmark": math.nan,
        "baseline_benchmark": math.nan,
    }


def certificate_table(subjects: Sequence[Subject], certificates: Mapping[str, Certificate]) -> pd.DataFrame:
    """One row a subject and check (`CERTIFICATE_COLUMNS`); a check's first violation gives what reproduces it.

    certificates: by candidate id, for every subject.
    """
    rows = []
    for subject in subjects:
        certificate = certificates[subject.candidate.id]
        described = {
            "source": subject.source,
            "name": printable(subject.candidate.name),
            "family": subject.family,
            "strength": subject.strength,
        }
        for row in certificate_rows({subject.key: certificate}).to_dict("records"):
            violations = certificate.checks[row["check"]].violations
            first = {field: getattr(violations[0], field) if violations else None for field in FROM_VIOLATION}
            rows.append({**described, **row, **first})
    return pd.DataFrame(rows, columns=list(CERTIFICATE_COLUMNS))


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
