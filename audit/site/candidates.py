"""The gallery: what a search proposed and what its rerun made of it, joined by the sha256 of the program."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audit.evidence import printable
from audit.finding import Finding
from audit.site.folders import FINDINGS, Run
from replication.discovered import FILE, SCHEMA, CandidateList, Listed
from replication.record import read_document
from replication.settings import InputError, require, typed

DETAILS = {  # kind of a finding of the rerun -> texts that its details hold
    "comparison": ("candidate", "candidate_label", "baseline_label", "scale", "rerun_verdict"),
    "certificate": ("candidate", "standing"),
}
OUTCOMES = ("better", "equivalent", "undecided", "worse")
LINEAGE_COLUMNS = ("id", "name", "parent", "honest_loss", "leaky")


@dataclass(frozen=True, kw_only=True)
class Step:
    """An experiment of a candidate's lineage. loss: honest, of one run; NaN where there is none."""

    number: int
    name: str
    loss: float


@dataclass(frozen=True, kw_only=True)
class Score:
    """What the search measured, once. gains: baseline -> its mean loss minus `loss`, in `unit`."""

    search: str
    scale: str
    unit: str
    number: int
    fitness: float
    loss: float
    gains: Mapping[str, float]
    standing: str


@dataclass(frozen=True, kw_only=True)
class GalleryEntry:
    """A candidate. source: None where no folder keeps its code. lineage: from the start of the search to itself.

    certificate and comparisons: findings of the rerun; None and empty where it was not rerun.
    """

    sha256: str
    label: str
    source: str | None
    score: Score | None
    lineage: tuple[Step, ...]
    certificate: Finding | None
    comparisons: tuple[Finding, ...]

    @property
    def outcomes(self) -> dict[str, str]:
        """Scale -> how many baselines it is better than, and so on, in words."""
        counts: dict[str, Counter[str]] = {}
        for finding in self.comparisons:
            counts.setdefault(str(finding.details["scale"]), Counter())[str(finding.details["rerun_verdict"])] += 1
        return {
            scale: ", ".join(f"{found[outcome]} {outcome}" for outcome in sorted(found, key=_place))
            for scale, found in counts.items()
        }


def gallery(search: Run | None, rerun: Run | None) -> list[GalleryEntry]:
    """Candidates of a search, best fitness first, then those that were only rerun.

    Raises:
        InputError: a file of the search is damaged, or a program is not the one that is listed.
    """
    compared, certificates = _reruns(rerun)
    entries = [] if search is None else _discovered(search, compared, certificates)
    known = {entry.sha256 for entry in entries}
    rest = [sha256 for sha256 in compared if sha256 not in known]
    return entries + [
        GalleryEntry(
            sha256=sha256,
            label=str(compared[sha256][0].details["candidate_label"]),
            source=None,
            score=None,
            lineage=(),
            certificate=certificates.get(sha256),
            comparisons=tuple(compared[sha256]),
        )
        for sha256 in rest
    ]


def _place(outcome: str) -> int:
    return OUTCOMES.index(outcome) if outcome in OUTCOMES else len(OUTCOMES)


def _reruns(rerun: Run | None) -> tuple[dict[str, list[Finding]], dict[str, Finding]]:
    """sha256 of a candidate -> comparisons, and -> certificate."""
    compared: dict[str, list[Finding]] = {}
    certificates: dict[str, Finding] = {}
    if rerun is None:
        return compared, certificates
    for finding in rerun.findings:
        expected = DETAILS.get(str(finding.details.get("kind")), ())
        for name in expected:
            wrong = f"{finding.id}: its details hold no {name}"
            require(isinstance(finding.details.get(name), str), f"{rerun.folder / FINDINGS}: {wrong}")
        if finding.details.get("kind") == "comparison":
            compared.setdefault(str(finding.details["candidate"]), []).append(finding)
        elif finding.details.get("kind") == "certificate":
            certificates[str(finding.details["candidate"])] = finding
    return compared, certificates


def _discovered(
    search: Run, compared: Mapping[str, list[Finding]], certificates: Mapping[str, Finding]
) -> list[GalleryEntry]:
    path = search.folder / FILE
    if not path.exists():
        return []
    document = read_document(_text(path), SCHEMA, "list of candidates", str(path))
    listed = typed(CandidateList, document, str(path))
    experiments = _experiments(search.folder / "archive" / "experiments.csv")
    archived = _programs(search.folder / "archive" / "programs.jsonl")
    return [
        GalleryEntry(
            sha256=one.source_sha256,
            label=printable(one.label),
            source=_source(search.folder, one, archived),
            score=_score(one, listed, experiments),
            lineage=_lineage(one.number, experiments),
            certificate=certificates.get(one.source_sha256),
            comparisons=tuple(compared.get(one.source_sha256, ())),
        )
        for one in listed.candidates
    ]


def _score(one: Listed, listed: CandidateList, experiments: Mapping[int, Mapping[str, Any]]) -> Score:
    leaky = str(experiments.get(one.number, {}).get("leaky", "")).lower()
    return Score(
        search=printable(listed.search),
        scale=printable(listed.scale),
        unit=printable(listed.unit),
        number=one.number,
        fitness=one.fitness,
        loss=one.loss,
        gains={printable(name): loss - one.loss for name, loss in one.baseline_losses.items()},
        standing={"true": "leaky", "false": "clean"}.get(leaky, "not certified"),
    )


def _lineage(number: int, experiments: Mapping[int, Mapping[str, Any]]) -> tuple[Step, ...]:
    """The chain of parents down to `number`; it ends early where a parent is not in the table."""
    steps: list[Step] = []
    place: int | None = number
    while place is not None and place in experiments and place not in {step.number for step in steps}:
        row = experiments[place]
        steps.append(Step(number=place, name=printable(str(row["name"])), loss=float(row["honest_loss"])))
        place = None if pd.isna(row["parent"]) else int(row["parent"])
    return tuple(reversed(steps))


def _experiments(path: Path) -> dict[int, dict[str, Any]]:
    """Number of an experiment -> its row; empty where the search keeps no archive."""
    if not path.exists():
        return {}
    try:
        table = pd.read_csv(path, usecols=list(LINEAGE_COLUMNS), dtype={"name": str, "leaky": str})
        numbers = table[["id", "parent", "honest_loss"]].astype("float64")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a table of experiments ({error})") from error
    infinite = numbers[["id", "parent"]].isin([math.inf, -math.inf])
    whole = bool(numbers["id"].notna().all()) and not bool(infinite.any(axis=None))
    require(whole, f"{path}: not a table of experiments (an id or a parent is no whole number)")
    rows = table.assign(parent=numbers["parent"], honest_loss=numbers["honest_loss"]).to_dict("records")
    return {int(row["id"]): {str(key): value for key, value in row.items()} for row in rows}


def _programs(path: Path) -> dict[int, str]:
    """Number of an experiment -> its program; empty where the search keeps no archive."""
    if not path.exists():
        return {}
    try:
        records = [json.loads(line) for line in _text(path).split("\n") if line]
        return {int(record["number"]): str(record["source"]) for record in records}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not an archive of programs ({error!r})") from error


def _source(folder: Path, one: Listed, archived: Mapping[int, str]) -> str:
    """The program, readable: characters that hide or turn round text are replaced. A reference keeps few files."""
    path = folder / one.file
    require(path.resolve().is_relative_to(folder.resolve()), f"{folder / FILE}: {one.file} lies outside its folder")
    kept = archived.get(one.number)
    text = _text(path) if kept is None or path.exists() else kept
    same = hashlib.sha256(text.encode()).hexdigest() == one.source_sha256
    require(same, f"{path}: this program was changed since the search")
    return "\n".join(printable(line) for line in text.expandtabs().split("\n"))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
