"""Results that are kept with the project: tables in a folder, and the manifest that knows their checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from audit.finding import canonical_json
from replication.durable import write_atomic
from replication.settings import InputError

MANIFEST = "manifest.json"


def write_kept(folder: Path, tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any]) -> None:
    """Write the tables, then the manifest with their checksums: until it is there, the old one disowns new tables.

    Raises:
        InputError: the folder cannot be written.
    """
    texts = {name: table.to_csv(index=False, lineterminator="\n").encode("utf-8") for name, table in tables.items()}
    sums = {f"{name}.csv": hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomic(folder / f"{name}.csv", text)
        write_atomic(folder / MANIFEST, canonical_json({**manifest, "tables": sums}).encode("utf-8"))
    except OSError as error:
        raise InputError(f"reference: {folder} cannot be written ({error.strerror or error})") from error


def read_kept(folder: Path, names: Sequence[str], remedy: str) -> tuple[dict[str, bytes], dict[str, Any]] | None:
    """The tables' bytes by name, and the manifest; None where there are none.

    Raises:
        InputError: a file is missing, torn or changed by hand; says that `remedy` makes them again.
    """
    if not (folder / MANIFEST).exists():
        return None
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {name: (folder / f"{name}.csv").read_bytes() for name in names}
        whole = manifest["tables"] == {f"{name}.csv": hashlib.sha256(data).hexdigest() for name, data in files.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: cannot be read ({error}); {remedy} makes it again") from error
    if not whole:
        raise InputError(f"{folder}: the tables are not those that its manifest names; {remedy} makes them again")
    return files, manifest
