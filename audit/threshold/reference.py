"""The kept results of the trained parts: two tables and the manifest of the session that measured them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audit.finding import plain
from audit.kept import read_kept, write_kept
from audit.threshold.evidence import PROPOSAL_COLUMNS
from audit.wording import plural
from replication.provenance import code_sha256

TABLES = ("proposals", "certificates")
TEXTS = {
    "proposals": ("source", "scale", "candidate", "name", "family", "status"),
    "certificates": (
        "source",
        "candidate",
        "name",
        "family",
        "check",
        "outcome",
        "detail",
        "mode",
        "dtype",
        "gradient",
    ),
}
EMPTY_TEXTS = ("family", "detail")  # these hold an empty text where the others hold nothing
# What decides the numbers of a trained program; other settings may differ without making the reference another's.
DECIDING = (
    "scale", "optimiser", "corpus", "certificate", "honest", "spot_check", "baselines", "baseline", "candidates",
    "seeds", "first_seed", "zoo", "mixed",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Tables as the audit reads them, and the manifest."""

    proposals: pd.DataFrame
    certificates: pd.DataFrame
    manifest: dict[str, Any]


def without_published_names(certificates: pd.DataFrame) -> pd.DataFrame:
    """The table with published programs called by their index: names and texts of others are not ours to keep."""
    published = certificates["source"] == "asi_arch"
    anonymous = "index " + certificates["candidate"]
    return certificates.assign(name=certificates["name"].where(~published, anonymous))


def write_reference(folder: Path, reference: Reference) -> None:
    """Write the folder; see `write_kept`."""
    write_kept(folder, {name: getattr(reference, name) for name in TABLES}, reference.manifest)


def read_reference(folder: Path) -> Reference | None:
    """The kept results; None where there are none.

    Raises:
        InputError: a file is missing, torn or changed by hand; says that retrain=true makes them again.
    """
    kept = read_kept(folder, TABLES, "retrain=true")
    if kept is None:
        return None
    files, manifest = kept
    proposals, certificates = (_read_table(name, files[name]) for name in TABLES)
    return Reference(proposals=proposals, certificates=certificates, manifest=manifest)


def _read_table(name: str, data: bytes) -> pd.DataFrame:
    table = pd.read_csv(io.BytesIO(data), dtype=dict.fromkeys(TEXTS[name], object), keep_default_na=False, na_values={
        column: [] if column in TEXTS[name] else [""] for column in _header(data)
    })  # fmt: skip
    for column in TEXTS[name]:
        if column not in EMPTY_TEXTS:
            table[column] = [value or None for value in table[column]]
    return table


def _header(data: bytes) -> list[str]:
    return data.split(b"\n", 1)[0].decode("utf-8").split(",")


def differing_settings(manifest: Mapping[str, Any], resolved: Mapping[str, Any]) -> list[str]:
    """Dotted names of the settings that decide trained results and are not what the reference was made with."""
    made: Mapping[str, Any] = manifest.get("config", {})
    return [name for key in DECIDING for name in _differing(key, made.get(key), plain(resolved.get(key)))]


def _differing(name: str, first: object, second: object) -> list[str]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        keys = [*first, *(key for key in second if key not in first)]
        return [found for key in keys for found in _differing(f"{name}.{key}", first.get(key), second.get(key))]
    return [] if first == second else [name]


def usable(reference: Reference | None, now: pd.DataFrame) -> pd.DataFrame:
    """Proposals whose program, to the letter, is certified in `now` (a table of certificates); empty without any."""
    if reference is None:
        return pd.DataFrame(columns=list(PROPOSAL_COLUMNS))
    known = pd.MultiIndex.from_frame(now[["source", "candidate"]])
    kept = pd.MultiIndex.from_frame(reference.proposals[["source", "candidate"]]).isin(known)
    return reference.proposals[kept].reset_index(drop=True)


def describe(
    folder: str, reference: Reference | None, now: pd.DataFrame, resolved: Mapping[str, Any], retrained: bool
) -> list[str]:
    """Where the trained results come from, and everything about them that is not as this call asks; sentences.

    now: the certificates of this call. resolved: its configuration.
    """
    if reference is None:
        return [f"There are no trained results: {folder} holds none, and retrain=true makes them."]
    manifest, rows = reference.manifest, reference.proposals
    commit = f"commit {str(manifest.get('commit'))[:12]}" if manifest.get("commit") else "an unknown commit"
    dirty = " with uncommitted changes" if manifest.get("dirty") else ""
    how = "measured by this call, or taken from its ledger, and kept in" if retrained else "taken from"
    runs = rows[["scale", "candidate", "seed"]].drop_duplicates()
    counted = f"{plural(len(runs), 'run')} of {plural(runs['candidate'].nunique(), 'program')} beside the baseline"
    where = ", ".join(sorted(set(rows["scale"])))
    said = [f"Trained results are {how} {folder}: {counted} at {where}, made at {commit}{dirty}."]
    if different := differing_settings(manifest, resolved):
        said.append(f"They were made with other settings than this call asks for ({', '.join(different)}).")
    if manifest.get("code_sha256") != code_sha256():
        said.append("The code of the bench has changed since; retrain=true measures them anew.")
    if gone := _programs(rows) - _programs(usable(reference, now)):
        said.append(f"{plural(gone, 'program')} of theirs, not the same to the letter as any of this call, left out.")
    return said + _changed_certificates(reference.certificates, now)


def _programs(rows: pd.DataFrame) -> int:
    return len(rows[["source", "candidate"]].drop_duplicates())


def _changed_certificates(kept: pd.DataFrame, now: pd.DataFrame) -> list[str]:
    """Names every program whose outcome of some check is not what the reference holds."""
    both = kept.merge(now, on=["source", "candidate", "check"], suffixes=("_kept", ""))
    changed = both[both["outcome"] != both["outcome_kept"]]
    if changed.empty:
        return []
    names = [f"{row.name_} ({row.check})" for row in changed.rename(columns={"name": "name_"}).itertuples()]
    return [
        f"Certificates made now differ from those kept beside the runs: {', '.join(names)}. Those made now are used."
    ]
