"""The tidy tables every audit reads, checked on entry.

`runs` has one row a measured run, `experiments` one row a search-time score against one baseline, `certificates` one
row a program and check. A table that passes these checks needs no second look inside an audit; one that does not is
refused with the row and column.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from typing import get_args

import pandas as pd

from replication.certificate import CHECKS, LEAKS, Outcome
from replication.record import STATUSES
from replication.settings import InputError

ROLES = ("baseline", "candidate")
SCORES = ("val_loss", "honest_loss", "bits_per_byte")
GAINS = ("leak_gain", "leak_gain_se")  # a certified run has none either
OUTCOMES: tuple[str, ...] = get_args(Outcome)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_sha256(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


def _is_count(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return float(value).is_integer() and value >= 0


def _is_score(value: object) -> bool:
    """A finite number, or NaN for "no score"; an infinite loss is a diverged run, never a score."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isinf(value)


def _is_finite(value: object) -> bool:
    return _is_score(value) and not math.isnan(value)  # type: ignore[arg-type]


def _is_measure(value: object) -> bool:
    return value is None or (_is_score(value) and not value < 0)  # type: ignore[operator]


Rule = tuple[Callable[[object], bool], str]
TEXT: Rule = (_is_text, "a text")
_SHA256: Rule = (_is_sha256, "a sha256 in hex")
COUNT: Rule = (_is_count, "a whole number of at least 0")
SCORE: Rule = (_is_score, "a finite number, or NaN where there is none")
_FINITE: Rule = (_is_finite, "a finite number")
MEASURE: Rule = (_is_measure, "a number of at least 0, or NaN where it was not measured")

RUN_COLUMNS: dict[str, Rule] = {
    "run_id": TEXT,
    "candidate": _SHA256,
    "name": TEXT,
    "label": TEXT,
    "role": (lambda value: value in ROLES, f"one of {', '.join(ROLES)}"),
    "scale": TEXT,
    "seed": COUNT,
    "status": (lambda value: value in STATUSES, f"one of {', '.join(STATUSES)}"),
    "val_loss": SCORE,
    "honest_loss": SCORE,
    "leak_gain": SCORE,
    "leak_gain_se": MEASURE,
    "looks_ahead": (lambda value: isinstance(value, bool), "true or false"),
    "bits_per_byte": SCORE,
    "parameters": MEASURE,
    "flops": MEASURE,
    "tokens": MEASURE,
    "tokens_per_second": MEASURE,
    "wall_seconds": MEASURE,
    "peak_memory_bytes": MEASURE,
    "lifted": (lambda value: isinstance(value, str), "a text"),
    "error": (lambda value: value is None or isinstance(value, str) or value != value, "a text or nothing"),
    "order": COUNT,
}
EXPERIMENT_COLUMNS: dict[str, Rule] = {
    "candidate": _SHA256,
    "name": TEXT,
    "search_loss": _FINITE,
    "baseline": TEXT,
    "search_baseline_loss": _FINITE,
    "unit": TEXT,
    "where": TEXT,
}

CERTIFICATE_COLUMNS: dict[str, Rule] = {
    "candidate": _SHA256,
    "check": (lambda value: value in CHECKS, f"one of {', '.join(CHECKS)}"),
    "outcome": (lambda value: value in OUTCOMES, f"one of {', '.join(OUTCOMES)}"),
    "size": MEASURE,
    "limit": MEASURE,
    "detail": (lambda value: isinstance(value, str), "a text"),
}


def printable(text: str) -> str:
    """`text` with control, direction and surrogate characters replaced: names and errors are written by strangers."""
    return "".join("\ufffd" if unicodedata.category(letter)[0] == "C" else letter for letter in text)


class Evidence:
    """Checked tables, in a canonical row order, so that findings do not depend on the order rows came in.

    Texts keep only printable characters (line breaks too, in `error`).

    runs: columns of `RUN_COLUMNS`; sorted by scale (smallest models first), arm order, seed.
        Losses and gains are in nats per token, NaN unless status is ok. `val_loss` is the ordinary validation loss;
        `honest_loss` and `bits_per_byte`, the score that counts, are of the loss with nothing to see ahead.
        `leak_gain` is what seeing ahead saves, NaN where it was not measured; `looks_ahead`: whether it was seen to.
    experiments: columns of `EXPERIMENT_COLUMNS`; the losses have the unit named in `unit`; may be empty.
    certificates: columns of `CERTIFICATE_COLUMNS`, sizes relative to the outputs; in the order of arms and checks; an
        arm without rows has no certificate.
    arms: one row a candidate or baseline: candidate, name, label, role, standing; in display order. standing: "leaky"
        (a check of a leak is violated), "clean" (all of them are certified) or "not certified".
    scales: names of the scales, smallest models first.

    Raises:
        InputError: a table that breaks the contract; names the table, the row (counted from 0) and the column.
    """

    def __init__(self, runs: pd.DataFrame, experiments: pd.DataFrame, certificates: pd.DataFrame) -> None:
        check_columns("runs", runs, RUN_COLUMNS)
        check_columns("experiments", experiments, EXPERIMENT_COLUMNS)
        check_columns("certificates", certificates, CERTIFICATE_COLUMNS)
        check_unique("runs", runs, ["candidate", "scale", "seed"])
        check_unique("experiments", experiments, ["candidate", "baseline"])
        check_unique("certificates", certificates, ["candidate", "check"])
        _check_known("certificates", certificates, set(runs["candidate"]))
        _check_scores(runs)
        _check_arms(runs)
        self.runs = _sorted_runs(runs)
        self.scales: list[str] = list(dict.fromkeys(self.runs["scale"]))
        arms = self.runs.sort_values(["order", "candidate"])[["candidate", "name", "label", "role"]]
        arms = arms.drop_duplicates("candidate", ignore_index=True)
        self.arms = arms.assign(standing=_standings(certificates, runs, arms["candidate"].tolist()))
        self.experiments = _printable_columns(experiments[list(EXPERIMENT_COLUMNS)]).sort_values(
            ["candidate", "baseline"], ignore_index=True
        )
        self.certificates = _sorted_certificates(certificates, self.arms["candidate"].tolist())


def check_columns(table: str, frame: pd.DataFrame, rules: dict[str, Rule]) -> None:
    """Raise InputError naming table, row and column where a value breaks its column's rule, or a column is missing."""
    for column, (accepts, expected) in rules.items():
        if column not in frame.columns:
            raise InputError(f"{table}: column {column} is missing")
        for row, value in enumerate(frame[column].tolist()):
            if not accepts(value):
                raise InputError(f"{table}, row {row}, column {column}: expected {expected}, got {value!r}")
    unknown = [column for column in frame.columns if column not in rules]
    if unknown:
        raise InputError(f"{table}: unknown column {unknown[0]!r}")
    if table == "runs" and frame.empty:
        raise InputError("runs: the table has no rows, so there is nothing to audit")


def check_unique(table: str, frame: pd.DataFrame, key: list[str]) -> None:
    """Raise InputError naming table and row where two rows have one key."""
    repeated = frame.duplicated(key).to_numpy()
    if repeated.any():
        row = int(repeated.argmax())
        values = ", ".join(str(frame[column].iloc[row]) for column in key)
        raise InputError(f"{table}, row {row}, columns {', '.join(key)}: a second row for {values}")


def _check_known(table: str, frame: pd.DataFrame, candidates: set[str]) -> None:
    for row, candidate in enumerate(frame["candidate"]):
        if candidate not in candidates:
            raise InputError(f"{table}, row {row}, column candidate: no run of {candidate}")


def _check_scores(runs: pd.DataFrame) -> None:
    for column in (*SCORES, *GAINS):
        for row, (status, score) in enumerate(zip(runs["status"], runs[column], strict=True)):
            if column in SCORES and status == "ok" and math.isnan(score):
                raise InputError(f"runs, row {row}, column {column}: an ok run has no score")
            if status != "ok" and not math.isnan(score):
                raise InputError(f"runs, row {row}, column {column}: a {status} run has a score ({score!r})")


def _check_arms(runs: pd.DataFrame) -> None:
    """One candidate has one name, label, role and place; baselines are told apart by name."""
    first: dict[str, tuple[object, ...]] = {}
    baselines: dict[str, str] = {}
    columns = ["name", "label", "role", "order"]
    for row, (candidate, *values) in enumerate(runs[["candidate", *columns]].itertuples(index=False, name=None)):
        for column, value, earlier in zip(columns, values, first.setdefault(candidate, tuple(values)), strict=True):
            if value != earlier:
                raise InputError(
                    f"runs, row {row}, column {column}: {value!r}, but {earlier!r} in an earlier row of this candidate"
                )
        name, role = values[0], values[2]
        if role == "baseline" and baselines.setdefault(name, candidate) != candidate:
            raise InputError(f"runs, row {row}, column name: a second baseline named {name!r}")


def _sorted_runs(runs: pd.DataFrame) -> pd.DataFrame:
    runs = runs[list(RUN_COLUMNS)].copy()
    runs["error"] = [_printable_lines(error) if isinstance(error, str) else "" for error in runs["error"]]
    runs = _printable_columns(runs)
    counts = ["parameters", "flops", "tokens", "tokens_per_second", "wall_seconds", "peak_memory_bytes"]
    runs[counts] = runs[counts].astype("float64")
    runs[["seed", "order"]] = runs[["seed", "order"]].astype("int64")
    size = runs.groupby("scale")[["parameters", "flops"]].median().fillna(math.inf)
    ranked = size.reset_index().sort_values(["parameters", "flops", "scale"])["scale"].tolist()
    place = runs["scale"].map({scale: position for position, scale in enumerate(ranked)})
    return (
        runs.assign(_place=place)
        .sort_values(["_place", "order", "candidate", "seed"], ignore_index=True)
        .drop(columns="_place")
    )


def _sorted_certificates(certificates: pd.DataFrame, arms: list[str]) -> pd.DataFrame:
    frame = _printable_columns(certificates[list(CERTIFICATE_COLUMNS)])
    frame[["size", "limit"]] = frame[["size", "limit"]].astype("float64")
    place = [arms.index(candidate) for candidate in frame["candidate"]]
    check = [CHECKS.index(check) for check in frame["check"]]
    ordered = frame.assign(_place=place, _check=check).sort_values(["_place", "_check"], ignore_index=True)
    return ordered.drop(columns=["_place", "_check"])


def _standings(certificates: pd.DataFrame, runs: pd.DataFrame, arms: list[str]) -> list[str]:
    leaks = certificates[certificates["check"].isin(LEAKS)]
    found = leaks.groupby("candidate")["outcome"].agg(list).to_dict()
    contradicted = set(runs.loc[runs["looks_ahead"].astype(bool), "candidate"])
    standings = {arm: _standing(found.get(arm, [])) for arm in arms}
    return ["not certified" if standings[arm] == "clean" and arm in contradicted else standings[arm] for arm in arms]


def _standing(outcomes: list[str]) -> str:
    if "violated" in outcomes:
        return "leaky"
    return "clean" if outcomes == ["certified"] * len(LEAKS) else "not certified"


def _printable_lines(text: str) -> str:
    return "\n".join(printable(line) for line in text.splitlines())


def _printable_columns(frame: pd.DataFrame) -> pd.DataFrame:
    texts = {"run_id", "name", "label", "scale", "baseline", "unit", "where", "detail"} & set(frame.columns)
    return frame.assign(**{column: [printable(text) for text in frame[column]] for column in texts})
