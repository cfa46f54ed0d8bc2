"""The two tables that the audit of the discard threshold reads, checked on entry.

`proposals` has one row a measured proposal, `certificates` one row a check of one. The baseline that a rule compares
with is no proposal: it stands in `baseline_loss` only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

import pandas as pd

from audit.evidence import COUNT, MEASURE, SCORE, TEXT, Rule, check_columns, check_unique, printable
from replication.certificate import CHECKS, LEAKS, Outcome
from replication.record import STATUSES
from replication.settings import InputError

DECLARED = "declared"  # in the place of a check: the label that an archive came with, violated where it says leaky
MISSING = "missing"  # a status: the proposal is known, and its loss was not recorded
PROPOSAL_STATUSES = (*STATUSES, MISSING)


def _one_of(values: tuple[str, ...]) -> Rule:
    return (lambda value: value in values, f"one of {', '.join(values)}")


def _or_nothing(accepts: Callable[[object], bool], expected: str) -> Rule:
    return (lambda value: value is None or value != value or accepts(value), f"{expected} or nothing")


_LABEL: Rule = (lambda value: isinstance(value, str), "a text, empty where there is none")
_OPTIONAL_COUNT = _or_nothing(*COUNT)
_OPTIONAL_TEXT = _or_nothing(lambda value: isinstance(value, str), "a text")

PROPOSAL_COLUMNS: dict[str, Rule] = {
    "source": TEXT,
    "scale": TEXT,
    "candidate": TEXT,
    "name": TEXT,
    "family": _LABEL,
    "strength": MEASURE,
    "seed": (lambda value: value == -1 or COUNT[0](value), "a whole number of at least 0, or -1 where there is none"),
    "status": _one_of(PROPOSAL_STATUSES),
    "loss": SCORE,
    "honest_loss": SCORE,
    "leak_gain": SCORE,
    "leak_gain_se": MEASURE,
    "baseline_loss": MEASURE,
    "benchmark": SCORE,
    "baseline_benchmark": SCORE,
}
CERTIFICATE_COLUMNS: dict[str, Rule] = {
    "source": TEXT,
    "candidate": TEXT,
    "name": TEXT,
    "family": _LABEL,
    "strength": MEASURE,
    "check": _one_of((*CHECKS, DECLARED)),
    "outcome": _one_of(get_args(Outcome)),
    "size": MEASURE,
    "limit": MEASURE,
    "detail": _LABEL,
    "first_output": _OPTIONAL_COUNT,
    "position": _OPTIONAL_COUNT,
    "seed": _OPTIONAL_COUNT,
    "mode": _OPTIONAL_TEXT,
    "length": _OPTIONAL_COUNT,
    "dtype": _OPTIONAL_TEXT,
    "gradient": _OPTIONAL_TEXT,
}
NUMBERS = {"strength", "loss", "honest_loss", "leak_gain", "leak_gain_se", "baseline_loss", "benchmark"}
NUMBERS |= {"baseline_benchmark", "size", "limit", "first_output", "position", "length"}


class ThresholdEvidence:
    """Checked tables, in a canonical row order, so that findings do not depend on the order rows came in.

    proposals: columns of `PROPOSAL_COLUMNS`; losses in nats per token, NaN unless status is ok. `loss` is the ordinary
        validation loss, `baseline_loss` that of the baseline at the same scale and seed, `honest_loss` with everything
        after each scored position replaced (NaN where not measured). `family` and `strength` are set for graded leaks.
    certificates: columns of `CERTIFICATE_COLUMNS`; every candidate has each of `CHECKS` once, or `DECLARED` alone.
        Candidates without proposals may be certified, and proposals may lack a certificate.

    Raises:
        InputError: a table that breaks the contract; names the table, the row (counted from 0) and the column.
    """

    def __init__(self, proposals: pd.DataFrame, certificates: pd.DataFrame) -> None:
        check_columns("proposals", proposals, PROPOSAL_COLUMNS)
        check_columns("certificates", certificates, CERTIFICATE_COLUMNS)
        check_unique("proposals", proposals, ["source", "scale", "candidate", "seed"])
        check_unique("certificates", certificates, ["source", "candidate", "check"])
        _check_losses(proposals)
        _check_families(proposals)
        _check_one_description("proposals", proposals)
        _check_one_description("certificates", certificates)
        _check_complete(certificates)
        self.proposals = _canonical(proposals, list(PROPOSAL_COLUMNS), ["source", "scale", "candidate", "seed"])
        ranked = certificates.assign(_check=[_check_order(check) for check in certificates["check"]])
        columns = list(CERTIFICATE_COLUMNS)
        self.certificates = _canonical(ranked, [*columns, "_check"], ["source", "candidate", "_check"])[columns]
        self._truth = _truths(self.certificates)

    @property
    def sources(self) -> list[str]:
        """Names of the sources in either table, in alphabetical order."""
        return sorted({*self.proposals["source"], *self.certificates["source"]})

    def truth(self, source: str) -> dict[str, bool]:
        """Candidate -> whether it leaks (`future` or `batch`). One that no check settles is left out."""
        return self._truth.get(source, {})


def _truths(certificates: pd.DataFrame) -> dict[str, dict[str, bool]]:
    """Source -> candidate -> whether it leaks, where that is settled."""
    leaks = certificates[certificates["check"].isin([*LEAKS, DECLARED])]
    found: dict[str, dict[str, bool]] = {}
    for (source, candidate), outcomes in leaks.groupby(["source", "candidate"], sort=True)["outcome"]:
        if "violated" in set(outcomes):
            found.setdefault(str(source), {})[str(candidate)] = True
        elif set(outcomes) == {"certified"}:
            found.setdefault(str(source), {})[str(candidate)] = False
    return found


def _check_losses(proposals: pd.DataFrame) -> None:
    columns = ["loss", "honest_loss", "leak_gain", "leak_gain_se"]
    for row, (status, *scores) in enumerate(proposals[["status", *columns]].itertuples(index=False, name=None)):
        if status == "ok" and not scores[0] > 0:
            raise InputError(f"proposals, row {row}, column loss: an ok proposal needs a loss above 0")
        for column, score in zip(columns, scores, strict=True):
            if status != "ok" and score is not None and not math.isnan(score):
                raise InputError(f"proposals, row {row}, column {column}: a {status} proposal has one ({score!r})")
    for row, loss in enumerate(proposals["baseline_loss"]):
        if loss == 0:
            raise InputError(f"proposals, row {row}, column baseline_loss: must be above 0")


def _check_families(proposals: pd.DataFrame) -> None:
    """One candidate a family and strength."""
    key = ["source", "scale", "family", "strength", "seed"]
    repeated = (proposals.duplicated(key) & (proposals["family"] != "")).to_numpy(dtype=bool)
    if repeated.any():
        row = int(repeated.argmax())
        family, strength = proposals["family"].iloc[row], proposals["strength"].iloc[row]
        raise InputError(f"proposals, row {row}, column strength: a second candidate of {family!r} at {strength!r}")


def _check_one_description(table: str, frame: pd.DataFrame) -> None:
    """A candidate of a source has one name, family and strength."""
    first: dict[tuple[str, str], tuple[object, ...]] = {}
    columns = ["name", "family", "strength"]
    for row, (source, candidate, *values) in enumerate(
        frame[["source", "candidate", *columns]].itertuples(index=False, name=None)
    ):
        known = first.setdefault((source, candidate), tuple(values))
        for column, value, earlier in zip(columns, values, known, strict=True):
            if value != earlier and not (pd.isna(value) and pd.isna(earlier)):
                where = f"{table}, row {row}, column {column}"
                raise InputError(f"{where}: {value!r}, but {earlier!r} in an earlier row of this candidate")


def _check_complete(certificates: pd.DataFrame) -> None:
    for (source, candidate), own in certificates.groupby(["source", "candidate"], sort=False):
        found = sorted(own["check"])
        if found not in (sorted(CHECKS), [DECLARED]):
            raise InputError(
                f"certificates, {source} {candidate}, column check: expected all of {', '.join(CHECKS)}, "
                f"or {DECLARED} alone; got {', '.join(found)}"
            )


def _check_order(check: str) -> int:
    return [*CHECKS, DECLARED].index(check)


def _canonical(frame: pd.DataFrame, columns: list[str], key: list[str]) -> pd.DataFrame:
    frame = frame[columns].copy()
    for column in NUMBERS.intersection(columns):
        frame[column] = frame[column].astype("float64")
    if "status" in columns:
        frame["seed"] = frame["seed"].astype("int64")
    for column in {"name", "detail"} & set(columns):
        frame[column] = [printable(text) for text in frame[column]]
    return frame.sort_values(key, ignore_index=True)
