"""From an audit's results to a results folder: findings, tables, figures, manifest and one self-contained page."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from audit import wording
from audit.figures import svg
from audit.finding import Finding, canonical_json, findings_document
from replication.durable import sync_folder, write_synced
from replication.settings import InputError

FORMULA = re.compile(r"[=@\t\r]|[+\-](?![\d.]+%?$)")  # how a formula begins; signed numbers are none


@dataclass(frozen=True, kw_only=True)
class ResultPaths:
    """Where reports are written."""

    results: str


def write_report(
    folder: Path,
    *,
    audit: str,
    findings: Sequence[Finding],
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Figure],
    manifest: Mapping[str, Any],
    context: Mapping[str, Any],
    files: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write the run folder `results/<audit>/<run>` whole, or not at all, and point `latest` beside it at it.

    The page is `templates/<audit>.html`, given `findings`, `tables`, `figures` (inline SVG by name), `manifest` and
    every entry of `context`. `files` are further texts by their path in the folder. Returns the path of `report.html`.

    Raises:
        InputError: `folder` exists already, or the file system refuses the write; nothing half-written is left.
    """
    drawings = {name: svg(figure) for name, figure in figures.items()}
    texts = {
        "findings.json": canonical_json(findings_document(audit, findings)),
        "manifest.json": canonical_json(manifest),
        "report.html": _page(audit, findings, tables, drawings, manifest, context),
    }
    texts |= {f"tables/{name}.csv": _csv(table) for name, table in tables.items()}
    texts |= {f"figures/{name}.svg": drawing for name, drawing in drawings.items()}
    publish(folder, {**texts, **files})
    return folder / "report.html"


def publish(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write `folder` with these files, by their path in it, whole or not at all, and point `latest` beside it at it.

    Raises:
        InputError: `folder` exists already, or the file system refuses the write; nothing half-written is left.
    """
    try:
        _publish(folder, files)
    except OSError as error:
        raise InputError(f"{folder}: the report cannot be written there ({error.strerror or error})") from error


def lasting_name(page: Path) -> Path:
    """A page's name through `latest`, where that points at it, to be told to a user; else its own."""
    latest = page.parent.parent / "latest"
    return latest / page.name if latest.resolve() == page.parent.resolve() else page


def _csv(table: pd.DataFrame) -> str:
    """CSV text. A stranger's text that a spreadsheet would run as a formula gets an apostrophe in front."""
    texts = {
        name: column.map(lambda cell: f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell)
        for name, column in table.items()
        if not pd.api.types.is_numeric_dtype(column)
    }
    safe = table.assign(**{str(name): column for name, column in texts.items()})
    return str(safe.to_csv(index=False, lineterminator="\n"))


def _publish(folder: Path, files: Mapping[str, str | bytes]) -> None:
    if folder.exists():
        raise FileExistsError(0, "it exists already")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        scratch.chmod(0o755)  # mkdtemp makes it private
        for name, content in files.items():
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            # A command line may hold bytes that are no text; they are kept as escapes, which JSON reads back.
            data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
            write_synced(scratch / name, data)
        for part in (scratch, *(path for path in scratch.rglob("*") if path.is_dir())):
            sync_folder(part)
        scratch.rename(folder)
    finally:  # Ctrl-C included: a folder with half a report must not stay; a whole one has left this name
        shutil.rmtree(scratch, ignore_errors=True)
    sync_folder(folder.parent)
    _point_latest(folder)


def _point_latest(folder: Path) -> None:
    """Point `latest` at a report. Where that fails, the report is there all the same, so that is only said."""
    link = folder.parent / f".latest.{uuid.uuid4().hex}"  # process ids of two machines may be the same
    try:
        link.symlink_to(folder.name, target_is_directory=True)
        link.replace(folder.parent / "latest")
        sync_folder(folder.parent)
    except OSError as error:
        print(f"{folder.parent / 'latest'} cannot point at the new report {folder} ({error.strerror or error})")
        with contextlib.suppress(OSError):
            link.unlink(missing_ok=True)


def _page(
    audit: str,
    findings: Sequence[Finding],
    tables: Mapping[str, pd.DataFrame],
    drawings: Mapping[str, str],
    manifest: Mapping[str, Any],
    context: Mapping[str, Any],
) -> str:
    return render(
        f"{audit}.html",
        findings=findings,
        tables={name: table.to_dict("records") for name, table in tables.items()},
        columns={name: list(table.columns) for name, table in tables.items()},
        figures={name: inline_svg(name, drawing) for name, drawing in drawings.items()},
        manifest=manifest,
        **context,
    )


def render(template: str, **context: Any) -> str:
    """A page from `templates/<template>`; whatever is no markup is escaped, and a missing name is an error."""
    environment = Environment(
        loader=PackageLoader("audit"),
        autoescape=True,  # every name, label and error text was written by a stranger
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "fixed": wording.number,
        "signed": wording.signed,
        "count": wording.count,
        "compact": wording.compact,
        "pretty": canonical_json,
    }
    return environment.get_template(template).render(**context)


def inline_svg(name: str, drawing: str) -> Markup:
    """SVG text made fit to stand inside HTML: no prolog, ids of the page's own, about the size it was drawn for."""
    body = drawing[drawing.index("<svg ") :]
    # Safe as markup: matplotlib escapes the text it draws.
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    width = re.search(r'<svg [^>]*?\bwidth="([0-9.]+)pt"', body)
    style = f'style="max-width:min(60rem,{1.2 * float(width[1]):.0f}pt)" ' if width else ""
    return Markup(body.replace("<svg ", f'<svg role="img" {style}', 1))
