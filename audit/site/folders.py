"""The folders that the site is made of: a session's latest run, or the reference results that stand in for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NoReturn

import jsonschema

from audit.finding import Finding, schema
from replication.settings import InputError, require, typed

FINDINGS, MANIFEST, PAGE = "findings.json", "manifest.json", "report.html"
COPIED = ("tables/*.csv", "figures/*.svg")  # what pages and findings refer to, beside the files above
BODY = "<body>\n"  # of base.html; text of strangers is escaped, so it stands once in a page


@dataclass(frozen=True, kw_only=True)
class PlanState:
    """The decision plan of a run, by sha256, beside the one that its configuration was registered with."""

    sha256: str
    registered_sha256: str
    as_registered: bool


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """A file that a run read."""

    what: str
    file: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The machine of a run; memory in bytes."""

    cpu: str
    cores: int | None
    usable_cores: int | None
    memory_bytes: int | None
    gpu: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What the site needs of a manifest, as `audit.manifest` writes it."""

    command: tuple[str, ...]
    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    hardware: Hardware
    python: str
    os: str
    seeds: tuple[int, ...]
    inputs: tuple[InputFile, ...]
    decision_plan: PlanState
    started: str
    finished: str


@dataclass(frozen=True, kw_only=True)
class SessionEntry:
    """A session of the site; conf/report.yaml explains the fields."""

    name: str
    title: str
    question: str
    command: str
    reference: str | None
    headlines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a session left behind.

    folder: where it was read from. origin: "own", or "reference" where kept results stand in. findings: in their
    order; their tables and figures are named by their place in the site, and only those that are there. manifest: as
    written; provenance: what of it is understood. page: text of its report; None where a reference keeps none.
    files: what is copied, by place in the site.
    """

    entry: SessionEntry
    folder: Path
    origin: Literal["own", "reference"]
    findings: tuple[Finding, ...]
    manifest: Mapping[str, Any]
    provenance: Provenance
    page: str | None
    files: Mapping[str, bytes]

    @property
    def address(self) -> str:
        """Its page in the site."""
        return f"{self.entry.name}/{PAGE}"

    @property
    def headlines(self) -> list[Finding]:
        """Findings for the first page, in the order of the patterns; those that answer a claim stand there anyway."""
        measured = [finding for finding in self.findings if finding.claim is None]
        found = [[f for f in measured if fnmatchcase(f.id, pattern)] for pattern in self.entry.headlines]
        return list({finding.id: finding for group in found for finding in group}.values())


def read_runs(entries: Sequence[SessionEntry], results: Path) -> dict[str, Run]:
    """Name of a session -> its run, in the order of `entries`; a session that has none is left out.

    Raises:
        InputError: a file is missing, unreadable or not what it should be, or two findings share an id.
    """
    names = [entry.name for entry in entries]
    for name in names:
        require(names.count(name) == 1, f"sessions: {name!r} is listed twice")
        require(name.isidentifier(), f"sessions: {name!r} is no name of a session")
    found = {entry.name: read_run(entry, results) for entry in entries}
    runs = {name: run for name, run in found.items() if run is not None}
    _check_unique(list(runs.values()))
    return runs


def read_run(entry: SessionEntry, results: Path) -> Run | None:
    """The session's latest run below `results`, else its reference; None where there is neither."""
    latest = results / entry.name / "latest"
    if latest.is_symlink() or latest.exists():
        require(latest.is_dir(), f"{latest}: points at no folder; run {entry.command}, or remove it")
        return _read(entry, latest.resolve(), "own")
    reference = None if entry.reference is None else Path(entry.reference)
    if reference is not None and (reference / FINDINGS).exists():
        return _read(entry, reference, "reference")
    return None


def _read(entry: SessionEntry, folder: Path, origin: Literal["own", "reference"]) -> Run:
    texts = {name: _bytes(folder / name) for name in (FINDINGS, MANIFEST)}
    if origin == "own" or (folder / PAGE).exists():
        texts[PAGE] = _bytes(folder / PAGE)
    copied = {
        path.relative_to(folder).as_posix(): _bytes(path) for kind in COPIED for path in sorted(folder.glob(kind))
    }
    findings = [
        replace(finding, tables=_there(entry, finding.tables, copied), figures=_there(entry, finding.figures, copied))
        for finding in _findings(folder / FINDINGS, texts[FINDINGS], entry.name)
    ]
    manifest = _manifest(folder / MANIFEST, texts[MANIFEST])
    known = {field.name: manifest[field.name] for field in fields(Provenance) if field.name in manifest}
    page = texts.pop(PAGE, None)
    return Run(
        entry=entry,
        folder=folder,
        origin=origin,
        findings=tuple(findings),
        manifest=manifest,
        provenance=typed(Provenance, known, str(folder / MANIFEST)),
        page=None if page is None else _page(folder / PAGE, page),
        files={f"{entry.name}/{name}": data for name, data in (texts | copied).items()},
    )


def _there(entry: SessionEntry, names: Sequence[str], copied: Mapping[str, bytes]) -> tuple[str, ...]:
    return tuple(f"{entry.name}/{name}" for name in names if name in copied)


def _findings(path: Path, data: bytes, audit: str) -> list[Finding]:
    document = _json(path, data)
    try:
        jsonschema.Draft202012Validator(schema()).validate(document)
    except jsonschema.ValidationError as error:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        raise InputError(f"{path}: not a file of findings (at {place or 'the top'}: {error.message[:200]})") from error
    require(document["audit"] == audit, f"{path}: findings of {document['audit']!r}, expected those of {audit!r}")
    return [Finding(**entry) for entry in document["findings"]]


def _manifest(path: Path, data: bytes) -> dict[str, Any]:
    document = _json(path, data)
    require(isinstance(document, dict), f"{path}: not a manifest")
    return dict(document)


def _page(path: Path, data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a page ({error})") from error
    require(text.count(BODY) == 1, f"{path}: not a page of this project (no body to put the navigation in)")
    return text


def _json(path: Path, data: bytes) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number")

    try:
        return json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _check_unique(runs: Sequence[Run]) -> None:
    first: dict[str, Path] = {}
    for run in runs:
        path = run.folder / FINDINGS
        for finding in run.findings:
            require(
                finding.id not in first, f"{path}: the finding {finding.id!r} stands in {first.get(finding.id)} too"
            )
            first[finding.id] = path
