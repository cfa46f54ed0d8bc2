"""The evidence tables are refused, with the table, row and column named, unless they keep the contract."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from audit.evidence import Evidence, printable
from replication.settings import InputError


def edit(table: str, row: int, column: str, value: object):
    def change(runs: pd.DataFrame, experiments: pd.DataFrame) -> None:
        frame = runs if table == "runs" else experiments
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value

    return change


@pytest.mark.parametrize(
    ("table", "row", "column", "value", "message"),
    [
        ("runs", 3, "status", "fine", "runs, row 3, column status: expected one of ok, diverged"),
        ("runs", 2, "seed", -1, "runs, row 2, column seed: expected a whole number"),
        ("runs", 2, "seed", 1.5, "runs, row 2, column seed: expected a whole number"),
        ("runs", 2, "seed", True, "runs, row 2, column seed: expected a whole number"),
        ("runs", 0, "candidate", "abc", "runs, row 0, column candidate: expected a sha256"),
        ("runs", 1, "name", "", "runs, row 1, column name: expected a text"),
        ("runs", 1, "role", "judge", "runs, row 1, column role: expected one of baseline, candidate"),
        ("runs", 4, "bits_per_byte", float("nan"), "runs, row 4, column bits_per_byte: an ok run has no score"),
        ("runs", 4, "honest_loss", float("nan"), "runs, row 4, column honest_loss: an ok run has no score"),
        ("runs", 4, "leak_gain", float("inf"), "runs, row 4, column leak_gain: expected a finite number, or NaN"),
        ("runs", 4, "leak_gain_se", -0.1, "runs, row 4, column leak_gain_se: expected a number of at least 0"),
        ("runs", 4, "val_loss", float("inf"), "runs, row 4, column val_loss: expected a finite number"),
        ("runs", 4, "val_loss", "1.7", "runs, row 4, column val_loss: expected a finite number"),
        ("runs", 7, "status", "crashed", "runs, row 7, column val_loss: a crashed run has a score"),
        ("runs", 7, "label", "Other", "runs, row 7, column label: 'Other', but 'Gated DeltaNet' in an earlier row"),
        ("runs", 6, "parameters", -5, "runs, row 6, column parameters: expected a number of at least 0"),
        ("runs", 1, "seed", 0, "runs, row 1, columns candidate, scale, seed: a second row for"),
        ("experiments", 0, "search_loss", float("nan"), "experiments, row 0, column search_loss: expected a finite"),
    ],
)
def test_a_bad_cell_is_named_by_table_row_and_column(make_evidence, table, row, column, value, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make_evidence(edit(table, row, column, value))


def test_a_missing_an_unknown_and_an_empty_table_are_refused(make_evidence):
    evidence = make_evidence()
    with pytest.raises(InputError, match="runs: column flops is missing"):
        Evidence(evidence.runs.drop(columns="flops"), evidence.experiments, evidence.certificates)
    with pytest.raises(InputError, match="runs: unknown column 'luck'"):
        Evidence(evidence.runs.assign(luck=1), evidence.experiments, evidence.certificates)
    with pytest.raises(InputError, match="no rows"):
        Evidence(evidence.runs.iloc[:0], evidence.experiments, evidence.certificates)


def test_two_baselines_of_one_name_are_refused(make_evidence):
    def rename(runs: pd.DataFrame, experiments: pd.DataFrame) -> None:
        runs.loc[runs["name"] == "mamba2", "name"] = "delta_net"

    with pytest.raises(InputError, match="a second baseline named 'delta_net'"):
        make_evidence(rename)


def test_row_order_does_not_matter_and_scales_go_from_small_to_large(make_evidence):
    evidence = make_evidence()
    tables = (evidence.runs, evidence.experiments, evidence.certificates)
    shuffled = Evidence(*(table.sample(frac=1.0, random_state=3) for table in tables))
    pd.testing.assert_frame_equal(shuffled.certificates, evidence.certificates)
    pd.testing.assert_frame_equal(shuffled.runs, evidence.runs)
    assert shuffled.scales == ["cpu-small", "cpu-large"]
    assert list(shuffled.arms["name"])[:2] == ["delta_net", "gated_delta_net"]


def test_measurements_of_a_run_that_died_early_may_be_missing(make_evidence):
    def forget(runs: pd.DataFrame, experiments: pd.DataFrame) -> None:
        runs.loc[0, ["val_loss", "honest_loss", "bits_per_byte", "parameters", "flops", "wall_seconds"]] = np.nan
        runs["error"] = runs["error"].astype(object)
        runs.loc[0, "error"] = None
        runs.loc[0, "status"] = "crashed"

    evidence = make_evidence(forget)
    assert evidence.runs["error"].map(type).eq(str).all()


def test_control_characters_and_lone_surrogates_do_not_survive():
    assert printable("a\x1b[31mb\u202ec\ud800d\x00") == "a\ufffd[31mb\ufffdc\ufffdd\ufffd"
    assert printable("Schnörkel 混合 <b>$x$") == "Schnörkel 混合 <b>$x$"


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("candidate", "abc", "certificates, row 2, column candidate: expected a sha256"),
        ("candidate", "0" * 64, f"certificates, row 2, column candidate: no run of {'0' * 64}"),
        ("check", "speed", "certificates, row 2, column check: expected one of future, batch"),
        ("check", "future", "certificates, row 2, columns candidate, check: a second row for"),
        ("outcome", "clean", "certificates, row 2, column outcome: expected one of certified, violated, not_runnable"),
        ("size", -1.0, "certificates, row 2, column size: expected a number of at least 0"),
        ("limit", float("inf"), "certificates, row 2, column limit: expected a number of at least 0"),
        ("detail", None, "certificates, row 2, column detail: expected a text"),
    ],
)
def test_a_bad_cell_of_a_certificate_is_named(make_evidence, column, value, message):
    evidence = make_evidence()
    certificates = evidence.certificates.astype({column: object})
    certificates.loc[2, column] = value
    with pytest.raises(InputError, match=re.escape(message)):
        Evidence(evidence.runs, evidence.experiments, certificates)


def test_an_arm_needs_no_certificate_and_what_it_says_is_printable(make_evidence):
    evidence = make_evidence()
    none = Evidence(evidence.runs, evidence.experiments, evidence.certificates.iloc[:0])
    assert none.certificates.empty
    hostile = evidence.certificates.assign(detail="a\x1b[31mb")
    assert set(Evidence(evidence.runs, evidence.experiments, hostile).certificates["detail"]) == {"a\ufffd[31mb"}


def test_a_failed_run_with_a_leak_gain_is_refused(make_evidence):
    def gain(runs: pd.DataFrame, experiments: pd.DataFrame) -> None:
        runs.loc[runs["status"] != "ok", "leak_gain"] = 0.1

    with pytest.raises(InputError, match=r"column leak_gain: a diverged run has a score"):
        make_evidence(gain)
