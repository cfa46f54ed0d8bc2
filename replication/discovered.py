"""The best programs of a search as files: written when a search ends, read by `candidates=discovered`.

candidates.json     {"schema", "search", "scale", "unit", "candidates": [best first]}
candidates/*.py     the programs
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from replication.candidate import Candidate, SearchScore, slug
from replication.durable import write_atomic
from replication.record import read_document
from replication.settings import InputError, require, typed

SCHEMA = "archaudit.candidates/1"
FILE = "candidates.json"


@dataclass(frozen=True, kw_only=True)
class Discovered:
    """One kept program of a search. Losses are in the unit of the whole file."""

    name: str
    label: str
    number: int  # of the experiment
    fitness: float
    loss: float
    baseline_losses: dict[str, float]
    source: str


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An entry of candidates.json; `file` is relative to it."""

    name: str
    label: str
    number: int
    fitness: float
    loss: float
    baseline_losses: dict[str, float]
    source_sha256: str
    file: str


@dataclass(frozen=True, kw_only=True)
class CandidateList:
    """The document: the search, the scale of its losses and their unit, best fitness first."""

    search: str
    scale: str
    unit: str
    candidates: tuple[Listed, ...]


def candidate_files(search: str, scale: str, unit: str, candidates: Sequence[Discovered]) -> dict[str, str]:
    """The text of each file by its path in the folder of a search.

    Args:
        search: which one, for people.
        scale: where the losses were measured.
        unit: of the losses, e.g. "nats per token".
        candidates: best fitness first.
    """
    entries, files = [], {}
    for candidate in candidates:
        fields = asdict(candidate)
        source = fields.pop("source")
        path = f"candidates/{candidate.number:04}_{slug(candidate.name)[:60]}.py"
        files[path] = source
        entries.append(Listed(**fields, source_sha256=_sha256(source), file=path))
    document = asdict(CandidateList(search=search, scale=scale, unit=unit, candidates=tuple(entries)))
    files[FILE] = json.dumps({"schema": SCHEMA, **document}, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return files


def write_candidates(folder: Path, search: str, scale: str, unit: str, candidates: Sequence[Discovered]) -> None:
    """Write `candidate_files` into a folder, the list of them last. Raises OSError where that cannot be done."""
    for path, text in candidate_files(search, scale, unit, candidates).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / path, text.encode())


def load_discovered(path: Path, top: int, known: Mapping[str, str]) -> list[Candidate]:
    """The `top` best programs of a search that are no copy of one in `known` (id -> name); says which were left out.

    Raises:
        InputError: there is no such file, it is damaged, or a program was changed since.
    """
    require(path.is_file(), f"{path}: no search has been made yet: run nox -s discover first")
    text, where = path.read_text(errors="replace"), str(path)
    document = typed(CandidateList, read_document(text, SCHEMA, "list of candidates", where), where)
    found: dict[str, Candidate] = {}
    for entry in document.candidates:
        if len(found) == top:
            break
        twin = known.get(entry.source_sha256) or found.get(entry.source_sha256)
        if twin is not None:
            name = twin if isinstance(twin, str) else twin.name
            print(f"{path}: {entry.name} is left out: the same program as {name}")
            continue
        found[entry.source_sha256] = _read(path.parent, entry, document)
    require(len(found) > 0, f"{path}: holds no candidate: the search kept none, or only copies of baselines")
    return list(found.values())


def _read(folder: Path, entry: Listed, document: CandidateList) -> Candidate:
    path = folder / entry.file
    require(path.resolve().is_relative_to(folder.resolve()), f"{folder / FILE}: {entry.file} lies outside its folder")
    try:
        source = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read this candidate: {error}") from error
    require(
        _sha256(source) == entry.source_sha256,
        f"{path}: this program was changed since the search; name it by candidates=files instead",
    )
    return Candidate(
        name=slug(entry.name) or f"experiment_{entry.number}",
        label=entry.label,
        source=source,
        role="candidate",
        origin=entry.file,
        search=SearchScore(
            loss=entry.loss,
            baseline_losses=entry.baseline_losses,
            unit=document.unit,
            where=f"experiment {entry.number} of {document.search}, scale {document.scale}",
        ),
    )


def _sha256(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()
