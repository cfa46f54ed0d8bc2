"""The registry of claims on a search; its records, tree and policy; damaged and published files."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import yaml

from audit.claims.search import SEARCH_CHECKS
from audit.claims.tree import parent_ranks, pool_size, read_tree
from loop.fitness import FitnessSettings
from replication.settings import typed
from tests.audit.claim_tables import CONF, FITNESS, REGISTRY, ask, drop, search_tree, sheet

# The registry.


def test_every_entry_of_the_registry_names_a_check_and_fits_its_parameters():
    for entry in REGISTRY:
        if entry["check"] != "not_testable":
            typed(SEARCH_CHECKS[entry["check"]].parameters, entry["parameters"], entry["id"])


def test_the_registry_uses_the_fitness_of_the_configuration():
    used = [entry["parameters"]["fitness"] for entry in REGISTRY if "fitness" in entry["parameters"]]
    assert used
    assert all(typed(FitnessSettings, one, "fitness") == FITNESS for one in used)


def test_entries_have_every_field_and_an_id_of_their_own():
    wanted = {"id", "statement", "where", "check", "parameters", "rule", "sesoi", "family", "links"}
    assert all(set(entry) == wanted for entry in REGISTRY)
    assert len({entry["id"] for entry in REGISTRY}) == len(REGISTRY)


# Records and tree.

COUNT = {
    "sheet": "tree",
    "identifier": "index",
    "name": "name_new",
    "not_counted": [],
    "stated": 40,
    "exhaustive": True,
}


def test_a_complete_file_supports_its_stated_count():
    outcome = ask("record_count", COUNT, search_tree(40, 10, 3, 0))
    assert outcome.verdict == "supported"
    assert outcome.details["missing_identifiers"] == []
    assert outcome.inconsistencies == ()


def test_a_missing_record_contradicts_the_count_and_is_named():
    outcome = ask("record_count", COUNT, drop(search_tree(40, 10, 3, 0), 7))
    assert outcome.verdict == "contradicted"
    assert (
        ask("record_count", COUNT | {"exhaustive": False}, drop(search_tree(40, 10, 3, 0), 7)).verdict == "inconclusive"
    )
    assert outcome.details["missing_identifiers"] == [7]
    assert [one.kind for one in outcome.inconsistencies] == ["count"]


def test_an_absurd_identifier_is_no_run_of_numbers():
    table = search_tree(40, 10, 3, 0)
    table.cells.loc[40, "index"] = 10**12
    assert ask("record_count", COUNT, table).details["missing_identifiers"] == []


def test_a_tree_with_one_root_of_the_stated_name_is_supported():
    assert ask("tree_root", {"root": "Root", "stated": 40}, search_tree(40, 10, 3, 0)).verdict == "supported"


@pytest.mark.parametrize("break_it", ["name", "second_root", "dangling", "later", "too_many"])
def test_a_broken_tree_contradicts(break_it):
    table = search_tree(40, 10, 3, 0, root="Other" if break_it == "name" else "Root")
    if break_it in ("second_root", "dangling", "later"):
        table.cells.loc[20, "parent"] = {"second_root": None, "dangling": 999, "later": 30}[break_it]
    stated = 39 if break_it == "too_many" else 40
    assert ask("tree_root", {"root": "Root", "stated": stated}, table).verdict == "contradicted"


def test_a_node_that_was_not_released_leaves_the_tree_open():
    assert ask("tree_root", {"root": "Root", "stated": 41}, search_tree(40, 10, 3, 0)).verdict == "inconclusive"


# Policy.

POLICY = {"best": 5, "every": 20, "first": 20, "readings": ["rows", "identifiers", "own_entry"]}


def test_a_search_that_follows_the_policy_supports_it():
    outcome = ask("parent_policy", POLICY, search_tree(400, 20, 5, 1), sesoi=0.05)
    assert outcome.verdict == "supported"
    assert outcome.estimate == 1.0


def test_parents_drawn_from_everywhere_do_not_support_the_policy():
    outcome = ask("parent_policy", POLICY, search_tree(400, 20, 400, 1), sesoi=0.05)
    assert outcome.verdict == "inconclusive"
    assert outcome.estimate < 0.5


def test_readings_that_disagree_leave_the_policy_open():
    readings = {**POLICY, "readings": ["one_late", "rows"]}
    assert ask("parent_policy", readings, search_tree(400, 20, 5, 1), sesoi=0.05).verdict == "inconclusive"


def test_ranks_are_those_of_a_plain_count():
    tree = read_tree(search_tree(120, 10, 20, 3))
    for reading in ("every_entry", "rows", "own_entry"):
        seen = pool_size(tree, reading, 10)
        ranks = parent_ranks(tree, seen)
        for child in range(1, 120):
            parent = tree.parent[child]
            among = 1 + sum(tree.score[other] > tree.score[parent] for other in range(seen[child]))
            assert ranks[child] == (among if parent < seen[child] else np.inf)
    assert np.isnan(ranks[0])


def test_rows_that_are_no_nodes_are_left_out_and_counted():
    table = search_tree(40, 10, 3, 0)
    table.cells.loc[5, "score"] = float("nan")
    table.cells.loc[9, "index"] = 8
    assert read_tree(table).left_out == 2


def test_early_nodes_of_the_root_support_an_initial_pool_of_one():
    table = search_tree(60, 20, 3, 0)
    assert ask("initial_parents", {"first": 20}, table).verdict == "supported"
    table.cells.loc[15, "parent"] = 3
    assert ask("initial_parents", {"first": 20}, table).verdict == "contradicted"


def test_refreshes_in_batches_are_told_from_none():
    parameters = {"every": 20, "first": 20, "best": 5, "draws": 200, "others": [60]}
    batched = ask("refresh_interval", parameters, search_tree(600, 20, 5, 2), sesoi=0.01)
    assert batched.verdict == "supported"
    alike = ask("refresh_interval", parameters | {"others": [10]}, search_tree(600, 20, 5, 2), sesoi=0.01)
    assert alike.verdict == "inconclusive"
    assert ask("refresh_interval", parameters, search_tree(600, 1, 5, 2), sesoi=0.01).verdict == "contradicted"


def test_the_pool_is_supported_by_a_figure_of_its_mean_only():
    table = search_tree(60, 20, 3, 0)
    scores = table.numbers("score").to_numpy()
    means = [np.sort(scores[:k])[-10:].mean() / 3.0 for k in (20, 40, 60)]
    parameters = {"capacity": 10, "terms": 3, "samples": "n", "total": "total"}
    right = sheet("figure6", n=["20", "40", "60"], total=[f"{mean:.4f}" for mean in means])
    assert ask("pool_mean", parameters, table, right).verdict == "supported"
    wrong = sheet("figure6", n=["20", "40", "60"], total=[f"{mean + 0.01:.4f}" for mean in means])
    outcome = ask("pool_mean", parameters, table, wrong)
    assert outcome.verdict == "inconclusive"
    assert outcome.details["points_above"] == 1


# Damaged files: an outcome, never a traceback.


@pytest.mark.parametrize(
    "entry", [entry for entry in REGISTRY if entry["check"] != "not_testable"], ids=lambda e: e["id"]
)
def test_sheets_without_a_number_are_not_testable(entry):
    text = {"name", "name_new", "category", "group", "file", "sheet"}
    checks = SEARCH_CHECKS[entry["check"]]
    named = {value for one in fields(checks.parameters) for value in _texts(entry["parameters"].get(one.name))}
    columns = named | {"index", "parent", "score", "name", "name_new", "category", "group"}
    empty = {column: ["none", "of", "these"] if column in text else [None, "x", "NaN"] for column in columns}
    sheets = [
        sheet(name, **empty)
        for name in ("tree", "gallery", "table2", "table3", "figure1", "figure6", "figure7", "figure8")
    ]
    outcome = ask(entry["check"], entry["parameters"], *sheets, sesoi=entry["sesoi"])
    told = {"record_count", "tree_root", "category_count", "sigmoid_shape"}  # these read no number
    assert outcome.verdict == "not_testable" or entry["check"] in told


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [*value, *(text for part in value.values() for text in _texts(part))]
    return [text for part in value for text in _texts(part)] if isinstance(value, list) else []


# The published data.


def test_published_data_answer_every_claim(published_root):
    from audit.sources.asi_arch_tables import read_sheets
    from replication.published import PublishedSettings

    raw = yaml.safe_load((CONF / "published" / "asi_arch.yaml").read_text("utf-8")) | {"root": str(published_root)}
    names = ["table1", "table2", "table3", "figure1", "figure6", "figure7", "figure8"]
    sheets = read_sheets(typed(PublishedSettings, raw, "published"), {name: f"{name}.csv" for name in names})
    for entry in REGISTRY:
        if entry["check"] == "not_testable":
            continue
        outcome = ask(entry["check"], entry["parameters"], *sheets.values(), sesoi=entry["sesoi"])
        assert outcome.verdict in ("supported", "contradicted", "inconclusive", "not_testable"), entry["id"]
        assert "does not hold" not in outcome.answer, entry["id"]
