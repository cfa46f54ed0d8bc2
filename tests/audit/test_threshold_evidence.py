"""Tables of the threshold audit: what breaks the contract is refused with its table, row and column."""

from __future__ import annotations

import math
import re

import pandas as pd
import pytest

from audit.threshold.evidence import CERTIFICATE_COLUMNS, DECLARED, PROPOSAL_COLUMNS, ThresholdEvidence
from replication.certificate import CHECKS
from replication.settings import InputError


def proposals(**changes: object) -> pd.DataFrame:
    row = {
        "source": "zoo", "scale": "cpu-small", "candidate": "a", "name": "a", "family": "", "strength": math.nan,
        "seed": 0, "status": "ok", "loss": 4.0, "honest_loss": 4.0, "leak_gain": math.nan, "leak_gain_se": math.nan,
        "baseline_loss": 4.2, "benchmark": math.nan, "baseline_benchmark": math.nan,
    }  # fmt: skip
    return pd.DataFrame([row, row | {"candidate": "b", "name": "b"} | changes])


def certificates(checks: tuple[str, ...] = CHECKS, candidate: str = "a", **outcomes: str) -> pd.DataFrame:
    row = {
        "source": "zoo", "candidate": candidate, "name": candidate, "family": "", "strength": math.nan,
        "size": math.nan, "limit": None, "detail": "", "first_output": None, "position": None, "seed": None,
        "mode": None, "length": None, "dtype": None, "gradient": None,
    }  # fmt: skip
    return pd.DataFrame([row | {"check": check, "outcome": outcomes.get(check, "certified")} for check in checks])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "done"}, "proposals, row 1, column status: expected one of ok"),
        ({"status": "crashed"}, "proposals, row 1, column loss: a crashed proposal has one (4.0)"),
        ({"loss": math.nan}, "proposals, row 1, column loss: an ok proposal needs a loss above 0"),
        ({"loss": math.inf}, "proposals, row 1, column loss: expected a finite number"),
        ({"loss": -1.0}, "proposals, row 1, column loss: an ok proposal needs a loss above 0"),
        ({"baseline_loss": 0.0}, "proposals, row 1, column baseline_loss: must be above 0"),
        ({"seed": -2}, "proposals, row 1, column seed: expected a whole number of at least 0, or -1"),
        ({"candidate": "a", "name": "a"}, "proposals, row 1, columns source, scale, candidate, seed: a second row"),
        ({"candidate": "a", "seed": 1}, "proposals, row 1, column name: 'b', but 'a' in an earlier row"),
        ({"scale": ""}, "proposals, row 1, column scale: expected a text"),
        ({"benchmark": "high"}, "proposals, row 1, column benchmark: expected a finite number"),
        ({"rank": 3}, "proposals: unknown column 'rank'"),
    ],
)
def test_a_bad_proposal_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        ThresholdEvidence(proposals(**changes), certificates())


def test_two_candidates_of_one_family_and_strength_are_refused() -> None:
    rows = proposals()
    rows[["family", "strength"]] = ["shift", 0.1]
    with pytest.raises(InputError, match=r"row 1, column strength: a second candidate of 'shift' at .*0\.1"):
        ThresholdEvidence(rows, certificates())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (certificates(("future", "batch")), "certificates, zoo a, column check: expected all of future"),
        (certificates((*CHECKS, DECLARED)), "or declared alone; got"),
        (certificates((*CHECKS, "future")), "certificates, row 7, columns source, candidate, check: a second row"),
        (certificates(future="leaks"), "certificates, row 0, column outcome: expected one of certified"),
        (certificates(("futur",)), "certificates, row 0, column check: expected one of future"),
        (certificates().drop(columns="size"), "certificates: column size is missing"),
        (certificates().assign(position=-1), "certificates, row 0, column position: expected a whole number"),
    ],
)
def test_a_bad_certificate_is_named(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        ThresholdEvidence(proposals(), table)


def test_truth_comes_from_the_two_leaks_alone() -> None:
    table = pd.concat(
        [
            certificates(candidate="clean", length="violated", cost="not_runnable"),
            certificates(candidate="leaks", batch="violated", future="not_runnable"),
            certificates(candidate="unknown", future="not_runnable"),
            certificates((DECLARED,), "told", declared="violated"),
        ]
    )
    evidence = ThresholdEvidence(proposals(), table)
    assert evidence.truth("zoo") == {"clean": False, "leaks": True, "told": True}
    assert evidence.truth("elsewhere") == {}


def test_empty_tables_are_evidence_of_nothing() -> None:
    empty = ThresholdEvidence(
        pd.DataFrame(columns=list(PROPOSAL_COLUMNS)), pd.DataFrame(columns=list(CERTIFICATE_COLUMNS))
    )
    assert (empty.sources, empty.truth("zoo")) == ([], {})


def test_names_keep_only_printable_characters() -> None:
    rows = proposals()
    rows["name"] = ["a", "b\u202e\x1b[0m"]
    assert ThresholdEvidence(rows, certificates()).proposals["name"].tolist() == ["a", "b\ufffd\ufffd[0m"]
