"""The archive of a search: its gallery, differences at equal age, and keywords against the truth."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from audit.origins.archive import FILES, Program, read_search_archive
from audit.origins.audit import OriginEvidence, measure, methods_in_use, without
from audit.origins.plan import OriginSettings
from audit.origins.searched import AS_FOUND, SAME_AGE, origin_differences, origin_findings
from audit.origins.truth import check_truth, keyword_components, origin_by_words, true_components
from replication.configure import compose
from replication.provenance import ROOT
from replication.settings import InputError, typed

REFERENCE = ROOT / "results" / "reference" / "search" / "archive"
SIZE = 240


@functools.cache
def settings() -> OriginSettings:
    plan = compose("audit_origins", [])["audit"] | {"resamples": 400, "best": 60}
    return typed(OriginSettings, plan, "audit")


def write(folder: Path, *, effect: float, drift: float, seed: int = 0) -> Path:
    """A search whose gallery has `effect` more of analysis, and whose share of it rises by `drift` over the order.

    Fitness rises with the order too, so that the gallery is late.
    """
    rng = np.random.default_rng(seed)
    late = np.arange(SIZE) / SIZE
    fitness = late + 0.4 * rng.random(SIZE)
    best = np.isin(np.arange(SIZE), np.argsort(-fitness)[: settings().best])
    experiments = pd.DataFrame(
        {
            "id": range(SIZE), "order": range(SIZE), "parent": [""] + [0] * (SIZE - 1), "status": "ok",
            "fitness_strict": fitness, "discovery": "false",
        }
    )  # fmt: skip
    rows = []
    for i in range(SIZE):
        share = 0.1 + drift * late[i] + effect * best[i]
        for k in range(6):
            origin = "analysis" if rng.random() < share else str(rng.choice(["cognition", "original"]))
            rows.append({"experiment": i, "component": f"kind_{k % 5}", "origin": origin, "labelled_by": "model"})
    folder.mkdir(parents=True, exist_ok=True)
    experiments.to_csv(folder / FILES[1], index=False)
    pd.DataFrame(rows).to_csv(folder / FILES[0], index=False)
    lines = [json.dumps({"number": i, "motivation": "", "source": ""}) for i in range(SIZE)]
    (folder / FILES[2]).write_text("\n".join(lines) + "\n")
    return folder


def differences(folder: Path) -> pd.DataFrame:
    archive = read_search_archive(folder, "made", settings())
    table = origin_differences(archive, settings(), np.random.default_rng(1))
    return table.set_index(["channel", "comparison"])


def test_a_rise_with_the_order_alone_is_no_difference_at_equal_age(tmp_path):
    table = differences(write(tmp_path, effect=0.0, drift=0.6))
    assert table.loc[("experience", AS_FOUND), "low"] > 0.0
    aged = table.loc[("experience", SAME_AGE)]
    assert abs(aged["difference"]) < 0.5 * table.loc[("experience", AS_FOUND), "difference"]


def test_a_difference_of_the_gallery_stays_at_equal_age(tmp_path):
    table = differences(write(tmp_path, effect=0.4, drift=0.0))
    for comparison in (AS_FOUND, SAME_AGE):
        assert table.loc[("experience", comparison), "low"] > 0.2
        assert table.loc[("experience", comparison), "difference"] == pytest.approx(0.4, abs=0.12)


def test_the_channels_differences_cancel(tmp_path):
    table = differences(write(tmp_path, effect=0.2, drift=0.1))
    for comparison in (AS_FOUND, SAME_AGE):
        assert table.xs(comparison, level="comparison")["difference"].sum() == pytest.approx(0.0, abs=1e-12)


def test_the_gallery_is_the_best_by_strict_fitness(tmp_path):
    archive = read_search_archive(write(tmp_path, effect=0.0, drift=0.0), "made", settings())
    chosen = archive.experiments[archive.experiments["gallery"]]
    assert len(chosen) == settings().best
    assert chosen["fitness_strict"].min() > archive.experiments[~archive.experiments["gallery"]]["fitness_strict"].max()


def test_findings_say_when_shares_follow_from_the_proposers_settings(tmp_path):
    archive = read_search_archive(REFERENCE, "reference", settings())
    table = origin_differences(archive, settings(), np.random.default_rng(1))
    findings = {finding.id: finding for finding in origin_findings(archive, table, settings(), frozenset())}
    assert "no evidence about ASI-Arch" in findings["origins.reference.experience_difference"].answer
    own = read_search_archive(write(tmp_path, effect=0.0, drift=0.0), "made", settings())
    table = origin_differences(own, settings(), np.random.default_rng(1))
    answers = [finding.answer for finding in origin_findings(own, table, settings(), frozenset())]
    assert not any("no evidence about ASI-Arch" in answer for answer in answers)


def test_keywords_find_the_components_of_the_built_in_proposer():
    archive = read_search_archive(REFERENCE, "reference", settings())
    said, truth = keyword_components(archive), true_components(archive)
    same = sum(set(said[program]) == set(truth[program]) for program in truth)
    assert same >= 0.95 * len(truth)


def test_the_truth_is_checked_only_where_somebody_knows_it(tmp_path):
    archive = read_search_archive(write(tmp_path, effect=0.0, drift=0.0), "made", settings())
    assert check_truth(archive, settings(), np.random.default_rng(1)) is None


@pytest.mark.parametrize("kept", ["no programs", "no experiment of odd number", "no parents"])
def test_an_archive_too_small_to_learn_errors_from_is_not_checked(kept):
    archive = read_search_archive(REFERENCE, "reference", settings())
    if kept == "no programs":
        archive = replace(archive, programs={})
    elif kept == "no parents":
        archive = replace(archive, experiments=archive.experiments.assign(parent=np.nan))
    else:
        archive = replace(archive, components=archive.components[archive.components["experiment"] % 2 == 0])
    assert check_truth(archive, settings(), np.random.default_rng(1)) is None


def test_a_gallery_without_programs_has_findings_without_numbers(tmp_path):
    cfg = replace(settings(), gallery="discoveries", resamples=20)
    archive = read_search_archive(write(tmp_path, effect=0.0, drift=0.0), "made", cfg)
    found = origin_findings(archive, origin_differences(archive, cfg, np.random.default_rng(1)), cfg, frozenset())
    assert {finding.details["outcome"] for finding in found} == {"not testable"}
    assert not any("nan" in finding.answer for finding in found)


def test_corrected_shares_hold_the_truth_of_the_other_half():
    check = check_truth(read_search_archive(REFERENCE, "reference", settings()), settings(), np.random.default_rng(1))
    assert check is not None
    assert check.confusion.to_numpy().sum() == len(check.origins)
    assert check.shares["corrected"].sum() == pytest.approx(1.0)
    assert ((check.shares["low"] <= check.shares["truth"]) & (check.shares["truth"] <= check.shares["high"])).all()


@pytest.mark.parametrize(
    ("weakness", "end", "origin"),
    [
        ("Content fades", " (after Some Paper)", "cognition"),
        ("Neighbouring tokens are not bound", "", "analysis"),
        ("It is too dear", "", "original"),
    ],
)
def test_words_tell_an_origin(weakness, end, origin):
    told = (
        f"a has a weakness: {weakness}. This design adds a token shift that blends each input with the one before{end}."
    )
    assert origin_by_words(Program(motivation=told, source=""), "token_shift") == origin


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (FILES[0], None, "is not there"),
        (FILES[0], "experiment,component,origin\n0,a,analysis\n", "no column 'labelled_by'"),
        (FILES[0], "experiment,component,origin,labelled_by\n0,a,luck,truth\n", "row 1: origin 'luck'"),
        (FILES[0], "experiment,component,origin,labelled_by\n999,a,analysis,truth\n", "has no experiment 999"),
        (FILES[0], "experiment,component,origin,labelled_by\nx,a,analysis,truth\n", "row 1: experiment is 'x'"),
        (FILES[0], "experiment,component,origin,labelled_by\n", "no components"),
        (FILES[2], "{}\n", "line 1: no program"),
        (FILES[2], "[1]\n", "line 1: no program"),
        (FILES[1], "id,order,parent,status,fitness_strict,discovery\n0,0,,ok,high,false\n", "fitness_strict is 'high'"),
        (FILES[1], "id,order,parent,status,fitness_strict,discovery\n0,0,inf,ok,1,false\n", "parent is 'inf'"),
        (FILES[2], "\udcff", "programs.jsonl: cannot be read"),
    ],
)
def test_a_broken_archive_is_an_error_in_one_line(tmp_path, file, text, message):
    folder = write(tmp_path, effect=0.0, drift=0.0)
    (folder / file).unlink()
    if text is not None:
        (folder / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=message) as raised:
        read_search_archive(folder, "made", settings())
    assert "\n" not in str(raised.value)


def test_limits_that_calibration_fails_are_in_no_table():
    archive = read_search_archive(REFERENCE, "reference", settings())
    evidence = OriginEvidence(published=None, text=None, archive=archive)
    results = measure(evidence, settings())
    hidden = without(results, frozenset({("cluster_share", 50), ("corrected_shares.clusters", 50)}))
    assert hidden.truth is not None
    for table in (hidden.archive_shares, hidden.archive_parts, hidden.truth.shares):
        assert table[["low", "high"]].isna().all(axis=None)
    assert hidden.truth.components[["recall_low", "recall_high"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(hidden.archive_origins, results.archive_origins)
    assert {name for name, _ in methods_in_use(evidence, results)} >= {"cluster_share", "rao_scott", "cohen_kappa"}
