"""What every audit hands on: findings, as typed objects and as a schema-checked JSON document."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from typing import Any, Literal

import jsonschema
import numpy as np

from audit.statistics.estimate import NO_INTERVAL

SCHEMA = "archaudit.findings/1"
Withheld = frozenset[tuple[str, int]]  # (calibrated method, n) whose interval missed its target there
Interval = tuple[float, float]
Verdict = Literal["supported", "contradicted", "inconclusive", "not_testable", "measured"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One question, its answer in a sentence, and the numbers behind it.

    `id` is stable and dotted, `<audit topic>.<source>.<what>`. `claim` names the published claim it answers; a
    finding without one is `measured` and keeps its own outcome in `details`. `estimate` and `interval` are in `unit`;
    `p_value` is after the correction named in `method`. Fields follow `findings.schema.json`.
    """

    id: str
    question: str
    answer: str
    verdict: Verdict
    method: str
    claim: str | None = None
    estimate: float | None = None
    unit: str | None = None
    interval: tuple[float, float] | None = None
    level: float | None = None
    n: int | None = None
    p_value: float | None = None
    tables: Sequence[str] = ()
    figures: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


def findings_document(audit: str, findings: Sequence[Finding]) -> dict[str, Any]:
    """The JSON document of an audit: findings in the order given, no times and no paths, only finite numbers.

    An interval with a non-finite end becomes null: half an interval is not one.
    """
    repeated = {finding.id for finding in findings if sum(other.id == finding.id for other in findings) > 1}
    assert not repeated, f"duplicate finding ids: {sorted(repeated)}"
    document = {"schema": SCHEMA, "audit": audit, "findings": [_entry(finding) for finding in findings]}
    jsonschema.Draft202012Validator(schema()).validate(document)
    return document


def schema() -> dict[str, Any]:
    """The JSON Schema of a findings document."""
    text = resources.files("audit").joinpath("findings.schema.json").read_text(encoding="utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def canonical_json(value: object) -> str:
    """JSON text that depends on the value alone: sorted keys, shortest exact floats, null for a non-finite number."""
    return json.dumps(plain(value), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: object) -> Any:
    """`value` in JSON's own types; NumPy numbers become Python's, non-finite numbers None, tuples lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    assert value is None or isinstance(value, (str, int, bool)), f"not a JSON value: {value!r}"
    return value


def _entry(finding: Finding) -> dict[str, Any]:
    entry: dict[str, Any] = plain(asdict(finding))
    if entry["interval"] is not None and None in entry["interval"]:
        entry["interval"] = None
    return entry


def name_slug(name: str) -> str:
    """A name's part of a finding's id, where the name is all there is: a scale, or a baseline that was not rerun."""
    return slug(name, hashlib.sha256(name.encode("utf-8")).hexdigest())


def slug(name: str, identity: str) -> str:
    """`name` if it is made of a-z, 0-9, _ and -; else what is left of it, with 8 digits of `identity`."""
    if re.fullmatch(r"[a-z0-9_-]{1,64}", name):
        return name
    kept = re.sub(r"[^a-z0-9]+", "_", name.lower())[:48].strip("_")
    return f"{kept}-{identity[:8]}" if kept else identity[:8]


def permitted(interval: Interval, method: str, n: int, withheld: Withheld) -> Interval:
    """`interval`, or none (NaN limits) where calibration says that `method` does not hold at this n."""
    return NO_INTERVAL if (method, n) in withheld else interval
