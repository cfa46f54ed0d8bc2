"""Findings serialise to one deterministic, schema-checked document."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest

from audit.finding import Finding, canonical_json, findings_document, plain


def finding(**changes: object) -> Finding:
    fields = {"id": "replicate.x.y", "question": "q?", "answer": "a.", "verdict": "measured", "method": "m"} | changes
    return Finding(**fields)  # type: ignore[arg-type]


def test_a_document_keeps_the_order_of_findings_and_names_its_schema():
    document = findings_document("replicate", [finding(id="replicate.b"), finding(id="replicate.a")])
    assert document["schema"] == "archaudit.findings/1"
    assert [entry["id"] for entry in document["findings"]] == ["replicate.b", "replicate.a"]


def test_numbers_that_are_not_finite_become_null_and_half_an_interval_none():
    entry = findings_document(
        "replicate",
        [
            finding(
                estimate=float("nan"), interval=(0.1, float("inf")), details={"p": np.float64("-inf"), "q": [np.nan]}
            )
        ],
    )["findings"][0]
    assert (entry["estimate"], entry["interval"], entry["details"]) == (None, None, {"p": None, "q": [None]})


def test_numpy_numbers_are_written_as_exact_python_numbers():
    text = canonical_json({"b": np.float64(0.1), "a": np.int64(3), "c": np.bool_(True), "d": np.array([1.5])})
    assert text == '{\n "a": 3,\n "b": 0.1,\n "c": true,\n "d": [\n  1.5\n ]\n}\n'


def test_key_order_does_not_change_the_text():
    assert canonical_json({"x": 1, "a": {"z": 1, "b": 2}}) == canonical_json({"a": {"b": 2, "z": 1}, "x": 1})


@pytest.mark.parametrize(
    "change", [{"id": "Replicate.X"}, {"id": "replicate..x"}, {"verdict": "proven"}, {"interval": (1.0,)}, {"n": 1.5}]
)
def test_a_finding_outside_the_schema_is_refused(change):
    with pytest.raises(jsonschema.ValidationError):
        findings_document("replicate", [finding(**change)])


def test_duplicate_ids_are_a_defect():
    with pytest.raises(AssertionError, match=r"replicate\.x\.y"):
        findings_document("replicate", [finding(), finding()])


def test_something_that_is_not_json_is_a_defect():
    with pytest.raises(AssertionError, match="not a JSON value"):
        plain({"when": object()})


def test_text_survives_the_round_trip_whatever_it_holds():
    hostile = "</script>\u2028\x07\"'混"
    assert json.loads(canonical_json({"t": hostile}))["t"] == hostile
