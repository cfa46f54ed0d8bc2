from __future__ import annotations

import dataclasses
import hashlib
import http.server
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from replication.published import PublishedSettings, load_published
from replication.settings import InputError, typed

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS: list[dict[str, Any]] = [
    {"name": "net_a", "index": 5, "program": "a = 1", "score": 2.0, "name_new": "Net A"},
    {"name": "net_b", "index": 9, "program": "b = 1", "score": 3.0, "name_new": "Twin"},
    {"name": "net_c", "index": 7, "program": "c = 1", "score": 3.0, "name_new": "Twin"},
    {"name": "Net-D", "index": 2, "program": "d = 1", "score": 1.0},
]
TABLE = "name,loss_20m\nDeltaNet (Baseline),4.5\nGated DeltaNet (Baseline),4.4\nNet_A,4.25\nTwin,4.1\n"


def shipped(**changes: Any) -> PublishedSettings:
    """The shipped configuration with changes; sha256=... changes that of gallery.json."""
    values = yaml.safe_load((REPOSITORY / "conf/published/asi_arch.yaml").read_text())
    if "sha256" in changes:
        values["gallery"]["sha256"] = changes.pop("sha256")
    return typed(PublishedSettings, {**values, **changes}, "published")


def own(root: Path, **changes: Any) -> PublishedSettings:
    return shipped(root=str(root), sha256=None, **changes)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "gallery.json").write_text(json.dumps(ROWS))
    (tmp_path / "table2.csv").write_text(TABLE)
    return tmp_path


def test_programs_are_selected_by_index_in_the_order_asked_for(root: Path) -> None:
    first, second = load_published(own(root, index=[9, 5]))
    assert (first.name, first.label, first.source) == ("net_b", "Twin (index 9)", "b = 1")
    assert (second.role, second.origin) == ("candidate", "gallery.json index 5")


@pytest.mark.parametrize(("name", "index"), [("net_b", 9), ("Net A", 5), ("Net-D", 2)])
def test_programs_are_selected_by_either_of_their_names(root: Path, name: str, index: int) -> None:
    (candidate,) = load_published(own(root, name=[name]))
    assert candidate.origin == f"gallery.json index {index}"


def test_top_takes_the_highest_and_settles_ties_by_index(root: Path) -> None:
    assert [candidate.name for candidate in load_published(own(root, top=3))] == ["net_c", "net_b", "net_a"]
    assert [candidate.name for candidate in load_published(own(root, top=1, by="index"))] == ["net_b"]


def test_a_row_without_a_second_name_is_labelled_by_its_first(root: Path) -> None:
    (candidate,) = load_published(own(root, index=[2]))
    assert (candidate.name, candidate.label) == ("net_d", "Net-D (index 2)")


@pytest.mark.parametrize(("selection", "message"), [
    ({}, r"exactly one of published.index, .name and .top \(none is set\)"),
    ({"top": 1, "index": [5]}, r"\(index and top are set\)"),
    ({"index": []}, r"published.index: the list is empty"),
    ({"index": [5, 42]}, r"published.index: 42 is not among the 4 published programs"),
    ({"index": [5, 5]}, r"published.index: 5 is asked for twice"),
    ({"name": ["net_a", "Net A"]}, r"published.name: 'net_a' is asked for twice"),
    ({"name": ["nothing"]}, r"published.name: 'nothing' is not among the 4"),
    ({"name": ["Twin"]}, r"'Twin' fits several programs; choose by published.index: 9, 7"),
    ({"top": 500}, r"published.top: 500 of 4 published programs; choose 1 to 4"),
    ({"top": 0}, r"published.top: 0 of 4"),
    ({"top": 2, "by": "name"}, r"published.by: index 5 has 'net_a' in column 'name', not a finite number"),
    ({"top": 2, "by": "absent"}, r"published.by: index 5 has nothing in column 'absent'"),
])  # fmt: skip
def test_a_selection_that_does_not_fit_is_an_input_error(root: Path, selection: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_published(own(root, **selection))


def test_ranking_by_a_column_with_a_non_finite_value_names_the_row(root: Path) -> None:
    rows = [*ROWS[:2], {**ROWS[2], "score": float("nan")}]
    (root / "gallery.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match="index 7 has nan in column 'score'"):
        load_published(own(root, top=1))


@pytest.mark.parametrize(("content", "message"), [
    ('[{"name": "a",,}]', r"gallery.json: not JSON: .* at line 1 column 15"),
    ('{"a": 1}', r"expected a list of programs, got a dict"),
    (json.dumps([ROWS[0], 3]), r"row 1 \(the first is row 0\): expected an object, got a int"),
    (json.dumps([ROWS[0], {"name": "b", "index": 1}]), r"row 1 .*: field 'program' is missing"),
    (json.dumps([{**ROWS[0], "index": "5"}]), r"row 0 .*: field 'index' should be a whole number, got '5'"),
    (json.dumps([{**ROWS[0], "index": True}]), r"field 'index' should be a whole number, got True"),
    (json.dumps([{**ROWS[0], "program": ""}]), r"field 'program' should be a text, got ''"),
    (json.dumps([{**ROWS[0], "name_new": 3}]), r"field 'name_new' should be a text, got 3"),
    (json.dumps([{**ROWS[0], "program": "\ud800"}]), r"field 'program' is not text"),
    (json.dumps([ROWS[0], {**ROWS[1], "index": 5}]), r"index 5 stands in more than one row"),
    (json.dumps([ROWS[0], {**ROWS[1], "name": "net_a"}]), r"name 'net_a' stands in more than one row"),
    (json.dumps([{**ROWS[0], "name": "--"}]), r"1 selected rows have the name ''"),
    ("[" * 100_000, r"gallery.json: not JSON"),
    (b"\xff\xfe\xfa", r"gallery.json: not JSON"),
])  # fmt: skip
def test_a_damaged_gallery_is_an_input_error_in_one_line(root: Path, content: str | bytes, message: str) -> None:
    (root / "gallery.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as caught:
        load_published(own(root, index=[5]))
    assert "\n" not in str(caught.value)
    assert str(root) in str(caught.value)


def test_a_wrong_hash_says_what_was_found_and_how_to_use_ones_own_file(root: Path) -> None:
    found = hashlib.sha256((root / "gallery.json").read_bytes()).hexdigest()
    with pytest.raises(InputError, match=rf"sha256 is {found}, expected 3d0cf2.*published\.gallery\.sha256=null"):
        load_published(shipped(root=str(root), index=[5]))


def test_a_missing_file_names_the_setting_and_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/gallery\.json.*published\.root.*published\.download=true"):
        load_published(own(tmp_path / "nowhere", index=[5]))


def test_the_root_is_the_setting_else_the_environment_else_the_users_cache(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(own(root, index=[5]), root=None)
    monkeypatch.setenv("ARCHAUDIT_PUBLISHED", str(root))
    assert load_published(settings)[0].name == "net_a"
    monkeypatch.setenv("ARCHAUDIT_PUBLISHED", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="elsewhere"):
        load_published(settings)
    assert load_published(own(root, index=[5]))[0].name == "net_a"
    monkeypatch.delenv("ARCHAUDIT_PUBLISHED")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"cache/archaudit/published/gallery\.json"):
        load_published(settings)


def test_search_losses_come_from_the_table_where_the_name_is_unique(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found, ambiguous, unnamed = load_published(own(root, index=[5, 9, 2]))
    assert found.search is not None
    assert (found.search.loss, found.search.unit) == (4.25, "nats per token")
    assert found.search.baseline_losses == {"delta_net": 4.5, "gated_delta_net": 4.4}
    assert found.search.where == "table2.csv, row 'Net A', column loss_20m"
    assert ambiguous.search is None
    assert unnamed.search is None
    assert "index 9: no search loss: 2 programs and 1 table rows are named 'Twin'" in caplog.text


def test_without_the_table_candidates_carry_no_search_loss(root: Path) -> None:
    (root / "table2.csv").unlink()
    assert load_published(own(root, index=[5]))[0].search is None


def test_a_loss_that_is_no_number_is_no_search_loss(root: Path) -> None:
    (root / "table2.csv").write_text(TABLE.replace("4.25", "n/a"))
    assert load_published(own(root, index=[5]))[0].search is None


@pytest.mark.parametrize(("table", "message"), [
    (TABLE.replace("loss_20m", "loss"), r"published.search.loss_column: .*table2.csv has no column 'loss_20m'"),
    (TABLE.replace("4.5", "nan"), r"published.search.baselines.delta_net: 'DeltaNet \(Baseline\)' should be one row"),
    (TABLE.replace("Gated DeltaNet", "Gated"), r"published.search.baselines.gated_delta_net: .* found none"),
])  # fmt: skip
def test_a_table_without_its_columns_or_baselines_is_an_input_error(root: Path, table: str, message: str) -> None:
    (root / "table2.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        load_published(own(root, index=[5]))


@pytest.fixture
def server(root: Path) -> Iterator[str]:
    """The originals at `<address>/data/...`, as in the original repository."""
    (root / "data").mkdir()
    (root / "data/106.json").write_text(json.dumps(ROWS))
    (root / "data/tree.json").write_text("{}")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(root))

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def fetching(folder: Path, address: str, gallery: str, tree: str = "{}") -> PublishedSettings:
    settings = shipped(root=str(folder), url=address, download=True, index=[5])
    hashes = [hashlib.sha256(content.encode()).hexdigest() for content in (gallery, tree)]
    return dataclasses.replace(
        settings,
        gallery=dataclasses.replace(settings.gallery, sha256=hashes[0]),
        tree=dataclasses.replace(settings.tree, sha256=hashes[1]),
    )


def test_missing_originals_are_downloaded_once(server: str, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    settings = fetching(folder, server, json.dumps(ROWS))
    assert load_published(settings)[0].name == "net_a"
    assert sorted(path.name for path in folder.iterdir()) == ["gallery.json", "tree.json"]
    unreachable = dataclasses.replace(settings, url="http://127.0.0.1:1")
    assert load_published(unreachable)[0].name == "net_a"


def test_a_download_with_the_wrong_hash_leaves_nothing_behind(server: str, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with pytest.raises(InputError, match=r"/data/106\.json: sha256 is .*, expected .*; nothing was kept"):
        load_published(fetching(folder, server, "something else"))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "not an address", "{server}/absent"])
def test_a_failed_download_says_what_to_do_instead(server: str, tmp_path: Path, address: str) -> None:
    settings = fetching(tmp_path / "new", address.format(server=server), json.dumps(ROWS))
    with pytest.raises(InputError, match=r"cannot fetch .*data/106\.json.*save it as .*published\.root") as caught:
        load_published(settings)
    assert "\n" not in str(caught.value)


def test_a_download_into_a_folder_that_cannot_be_made_is_an_input_error(server: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"published\.download"):
        load_published(fetching(tmp_path / "file" / "folder", server, json.dumps(ROWS)))


def test_nothing_is_downloaded_without_a_hash_to_check_it_by(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without its sha256"):
        load_published(own(tmp_path / "new", download=True, index=[5]))


def test_the_shipped_settings_fit_the_published_data(published_root: Path) -> None:
    candidates = load_published(shipped(root=str(published_root), top=106))
    assert len({candidate.id for candidate in candidates}) == len({c.name for c in candidates}) == 106
    with_loss = [candidate for candidate in candidates if candidate.search is not None]
    assert len(with_loss) > 90
    assert all(set(c.search.baseline_losses) == {"delta_net", "gated_delta_net"} for c in with_loss if c.search)
