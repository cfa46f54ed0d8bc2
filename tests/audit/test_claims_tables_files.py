"""Claims on finalists, printed averages and differences, logs, sizes and scales, on small files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.claims.tables import TABLE_CHECKS
from audit.sheets import Sheet, SheetTable
from replication.settings import typed


def sheet(name: str, rows: list[dict[str, Any]]) -> Sheet:
    cells = pd.DataFrame(rows, dtype=object)
    cells.index = pd.RangeIndex(1, len(cells) + 1)
    return Sheet(name, f"{name}.csv", cells)


def run(check: str, parameters: dict[str, Any], *sheets: Sheet) -> Outcome:
    evidence = ClaimEvidence(sheets=SheetTable({one.name: one for one in sheets}), items={})
    decision = Decision(level=0.95, sesoi=None, resamples=500, seed=1, withheld=frozenset())
    entry = TABLE_CHECKS[check]
    return entry.run(evidence, typed(entry.parameters, parameters, check), decision)


def arms(name: str, *baselines: str, left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"sheet": name, "label": "model", "baselines": list(baselines), "left_out": list(left_out)}


def top(members: list[Any], best: int, ranked_by: str = "score") -> Outcome:
    everyone = [{"index": i, "score": float(score)} for i, score in enumerate([9, 8, 7, 7, 1], start=1)]
    parameters = {"members": {"sheet": "gallery", "column": "index"}, "sheet": "tree", "key": "index", "score": "score"}
    gallery = sheet("gallery", [{"index": member} for member in members])
    return run("ranked_top", {**parameters, "top": best, "ranked_by": ranked_by}, gallery, sheet("tree", everyone))


def test_members_are_the_top_by_score_with_ties_in_their_favour_or_the_claim_is_contradicted() -> None:
    assert top([1, 2, 4], 3).verdict == "supported"
    found = top([1, 2, 5], 3)
    assert found.verdict == "contradicted"
    assert top([1, 2, 5], 3, ranked_by="").verdict == "inconclusive"
    assert found.estimate == 2.0
    assert top([1, 77], 3).verdict == "inconclusive"


def best(finalists: list[str]) -> Outcome:
    pool = [("a", "1.0", "50"), ("b", "2.0", "49"), ("c", "3.0", "48"), ("d", "4.0", "51")]
    parameters = {
        "finalists": arms("final"),
        "pool": arms("pool"),
        "better": {"loss": "lower", "score": "higher"},
        "elsewhere": [{"sheet": "tree", "column": "name"}],
    }
    return run(
        "selected_best",
        parameters,
        sheet("final", [{"model": name} for name in finalists]),
        sheet("pool", [{"model": name, "loss": loss, "score": score} for name, loss, score in pool]),
        sheet("tree", [{"name": "lost_one"}]),
    )


def test_a_finalist_that_enough_others_surpass_in_every_column_cannot_be_a_top_performer() -> None:
    assert best(["a", "d"]).verdict == "supported"
    found = best(["a", "c"])
    assert found.verdict == "contradicted"
    assert found.rows is not None
    assert list(found.rows["surpassed_by"]) == [0, 2]


def test_a_finalist_that_is_not_in_the_pool_is_reported_with_the_file_that_has_its_name() -> None:
    found = best(["a", "lost one"])
    assert found.verdict == "inconclusive"
    (missing,) = found.inconsistencies
    assert (missing.kind, missing.row, missing.printed) == ("missing", 2, "lost one")
    assert "tree.csv: 1" in missing.note


def test_a_table_with_another_number_of_models_or_a_missing_metric_contradicts_its_stated_shape() -> None:
    table = sheet("results", [{"model": name, "loss": "1.0"} for name in ("old", "a", "b")])
    stated = {"arms": arms("results", "old"), "with_baselines": False, "programs": None, "open_part": ""}
    assert run("table_shape", {**stated, "models": 2, "metrics": ["loss"]}, table).verdict == "supported"
    assert run("table_shape", {**stated, "models": 3, "metrics": None}, table).verdict == "contradicted"
    assert run("table_shape", {**stated, "models": 2, "metrics": ["loss", "score"]}, table).verdict == "contradicted"
    open_part = {**stated, "models": 2, "metrics": None, "open_part": "the tokens"}
    assert run("table_shape", open_part, table).verdict == "inconclusive"


TASKS = ("one", "two", "three", "four")


def average(used: tuple[int, ...], size: int, items: int = 100) -> Outcome:
    rng = np.random.default_rng(5)
    scores = rng.integers(200, 800, size=(12, 4)) / 1000
    rows = [
        {"model": f"m {i}", "mean": f"{100 * row[list(used)].mean():.2f}", "search": f"{100 * (i + 7) / items / 3:.2f}"}
        for i, row in enumerate(scores)
    ]
    programs = [{"name": f"m_{i}", **dict(zip(TASKS, map(str, row), strict=True))} for i, row in enumerate(scores)]
    programs += [{"name": "m_3", **dict.fromkeys(TASKS, "0.999")}]
    parameters = {
        "arms": arms("results"),
        "column": "mean",
        "programs": "gallery",
        "name": "name",
        "tasks": list(TASKS),
        "unit": 100,
        "size": size,
        "search": "search",
        "items_each": 100,
        "most": 1000,
    }
    return run("average_of", parameters, sheet("results", rows), sheet("gallery", programs))


def test_the_tasks_behind_a_printed_average_are_found_and_decide_the_claim() -> None:
    found = average((0, 1, 3), 3)
    assert found.verdict == "supported"
    assert found.details["best"] == [["one", "two", "four"]]
    assert found.details["grid"]["smallest"] == 300
    assert average((0, 1), 3).verdict == "contradicted"


def test_an_average_off_the_grid_of_its_items_is_not_supported() -> None:
    assert average((0, 1, 3), 3, items=97).verdict == "inconclusive"


def differences(gain: str, wrong: int) -> Outcome:
    rows = [{"model": "old", "loss": "2.00", "gain": ""}, {"model": "older", "loss": "3.00", "gain": ""}]
    rows += [{"model": f"m{i}", "loss": "1.50", "gain": gain} for i in range(100 - wrong)]
    rows += [{"model": f"w{i}", "loss": "1.50", "gain": "+0.50"} for i in range(wrong)]
    parameters = {"arms": arms("t", "old", "older"), "differences": {"gain": "loss"}, "reference": "old"}
    return run("difference_reference", {**parameters, "misprints": 0.01}, sheet("t", rows))


def test_differences_tell_their_reference_and_a_misprint_is_named_without_changing_it() -> None:
    found = differences("-0.51", 1)
    assert found.verdict == "supported"
    assert "Row 102, gain" in found.answer
    assert differences("-1.50", 0).verdict == "contradicted"
    assert differences("-0.50", 2).verdict == "inconclusive"


def ends(logs: list[tuple[str, str]], step: int = 2000) -> Outcome:
    table = sheet(
        "t", [{"model": "old", "loss": "9.0"}, {"model": "a", "loss": "3.10"}, {"model": "b", "loss": "3.20"}]
    )
    programs = sheet("g", [{"name": name, "end": end, "step": step} for name, end in logs])
    parameters = {"arms": arms("t", "old"), "column": "loss", "programs": "g", "name": "name", "end": "end"}
    return run("log_ends", {**parameters, "step": "step", "last_step": 2000}, table, programs)


def test_printed_losses_are_compared_with_the_ends_of_their_logs() -> None:
    assert ends([("a", "3.1"), ("b", "3.2")]).verdict == "supported"
    assert ends([("a", "3.1"), ("b", "3.3")]).verdict == "contradicted"
    assert ends([("a", "3.1"), ("b", "3.2")], step=1900).verdict == "contradicted"


def test_a_log_without_an_end_or_a_missing_log_leaves_the_claim_open_and_is_counted() -> None:
    found = ends([("a", "3.1"), ("b", "nan")])
    assert found.verdict == "inconclusive"
    assert found.details == {"same": 1, "log has no end": 1}
    assert ends([("a", "3.1")]).details == {"same": 1, "no log": 1}


def test_a_name_of_several_programs_may_match_any_of_their_logs() -> None:
    assert ends([("a", "9.9"), ("a", "3.1"), ("b", "3.2")]).verdict == "supported"


def test_tokens_follow_from_steps_batch_and_context() -> None:
    programs = sheet("g", [{"step": 100}, {"step": 100}])
    stated = {"programs": "g", "step": "step", "batch": 10, "context": 1000, "steps": 100, "tolerance": 0.1}
    assert run("training_tokens", {**stated, "tokens": 1.05e6, "open_part": ""}, programs).verdict == "supported"
    assert run("training_tokens", {**stated, "tokens": 1.05e6, "open_part": "x"}, programs).verdict == "inconclusive"
    assert run("training_tokens", {**stated, "tokens": 2e6, "open_part": ""}, programs).verdict == "contradicted"


def classed(sizes: list[str], embeddings: list[float], stated: float | None = 1e8) -> Outcome:
    parameters = {"sizes": {"sheet": "g", "column": "size"}, "stated": stated, "tolerance": 0.1, "also_stated": []}
    programs = sheet("g", [{"size": size} for size in sizes])
    return run("size_class", {**parameters, "embeddings": embeddings, "open_part": ""}, programs)


def test_sizes_are_in_their_class_out_of_it_or_open_where_embeddings_decide() -> None:
    assert classed(["95M", "0.105B"], [0.0]).verdict == "supported"
    assert classed(["150M", "130M"], [0.0]).verdict == "contradicted"
    assert classed(["150M", "130M"], [0.0, 5e7]).verdict == "inconclusive"
    assert classed(["95M", "odd"], [0.0]).verdict == "inconclusive"
    assert classed(["95M"], [0.0], stated=None).verdict == "not_testable"
    assert classed(["odd"], [0.0]).verdict == "not_testable"


def configured(stated: float, vocabularies: dict[str, int], first: float | None = None) -> Outcome:
    parameters: dict[str, Any] = {
        "layers": 24,
        "hidden": 1024,
        "mixer": 4,
        "mlps": {"wide": 2816},
        "vocabularies": vocabularies,
        "embeddings": [2],
        "stated": stated,
        "tolerance": 0.02,
        "released": None,
        "first_loss": None if first is None else {"sheet": "curves", "step": 1, "output_sd": 0.02},
    }
    return run("configuration_size", parameters, sheet("curves", [{"index": 1, "step": 1, "loss": str(first)}]))


def test_a_configuration_implies_its_parameters_and_every_reading_must_fit() -> None:
    by_hand = 24 * (4 * 1024**2 + 3 * 1024 * 2816) + 2 * 32000 * 1024
    found = configured(by_hand, {"small": 32000})
    assert found.verdict == "supported"
    assert found.rows is not None
    assert float(found.rows.loc[0, "parameters"]) == by_hand
    assert configured(by_hand, {"small": 32000, "large": 64000}).verdict == "inconclusive"
    assert configured(2 * by_hand, {"small": 32000}).verdict == "contradicted"


def test_the_vocabulary_is_read_off_the_loss_of_an_untrained_model() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 32000)) * 0.02 * np.sqrt(1024)
    first = float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits.mean(axis=1)))
    assert configured(1e9, {"small": 32000}, first=first).details["vocabulary"] == pytest.approx(32000, rel=0.05)


def scaled(first: np.ndarray, second: np.ndarray, better: str, programs: int | None = None) -> tuple[Sheet, Sheet]:
    sign = 1.0 if better == "higher" else -1.0
    rows = [{"model": "old", "first": "0.0", "second": "0.0"}]
    rows += [
        {"model": f"m{i}", "first": f"{sign * a:.6f}", "second": f"{sign * b:.6f}"}
        for i, (a, b) in enumerate(zip(first, second, strict=True))
    ]
    sizes = [{"name": f"m{i}", "size": f"{10 * np.exp(a):.4f}M"} for i, a in enumerate(first)]
    return sheet("t", rows), sheet("g", sizes[:programs])


def test_rank_correlation_between_scales_has_its_sign_whichever_direction_is_better() -> None:
    rng = np.random.default_rng(2)
    first = rng.normal(size=60)
    found = {}
    for better in ("higher", "lower"):
        table, _ = scaled(first, first + 0.1 * rng.normal(size=60), better)
        parameters = {"arms": arms("t", "old"), "first": "first", "second": "second", "better": better, "top": 5}
        outcome = run("transfer", parameters, table)
        assert outcome.estimate is not None
        assert outcome.estimate > 0.9
        found[better] = outcome.details["lead_second"]
    assert found["higher"] > 1.0
    assert found["lower"] > 1.0


def test_gains_that_are_all_size_correlate_with_it_and_are_read_off_at_the_smallest_model() -> None:
    rng = np.random.default_rng(4)
    log_size = rng.uniform(0.0, 1.0, size=60)
    table, programs = scaled(log_size, 3.0 * log_size + 0.01 * rng.normal(size=60), "higher", programs=58)
    parameters = {"arms": arms("t", "old"), "value": "second", "better": "higher", "earlier": None}
    found = run("size_confound", {**parameters, "programs": "g", "name": "name", "size": "size"}, table, programs)
    assert found.estimate is not None
    assert found.estimate > 0.95
    assert found.details["slope_per_doubling"] == pytest.approx(3.0 * np.log(2.0), rel=0.02)
    assert found.details["matched_gain"][0] == pytest.approx(3.0 * log_size[:58].min(), abs=0.02)
    assert found.details["not_joined"] == 2


def test_a_scale_with_too_few_rows_is_not_testable_rather_than_an_error() -> None:
    table, _ = scaled(np.arange(5.0), np.arange(5.0), "higher")
    parameters = {"arms": arms("t", "old"), "first": "first", "second": "second", "better": "higher", "top": 2}
    assert run("transfer", parameters, table).verdict == "not_testable"
