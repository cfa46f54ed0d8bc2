"""Logs of research loops: what is sure is read, everything else is listed, and nothing ends in a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from audit.single_seed.log import LoopLog
from audit.sources.autoresearch import LogSettings, read_log
from replication.settings import InputError, typed
from tests.audit.loop_logs import FUZZ, read_or_refused, saved

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "log" / "default.yaml"
HEADER = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
LOG = (
    HEADER
    + "a1\t1.300000\t10.0\tkeep\tbaseline\n"
    + "b2\t1.310000\t10.0\tdiscard\twider\n"
    + "c3\t0.000000\t0.0\tcrash\ttoo deep\n"
    + "d4\t1.290000\t10.0\tkeep\tnarrower\n"
)


def chosen(**overrides: object) -> LogSettings:
    return typed(LogSettings, yaml.safe_load(CONFIG.read_text(encoding="utf-8")) | overrides, "log")


def read(tmp_path: Path, content: str | bytes, **overrides: object) -> LoopLog:
    return read_log(saved(tmp_path / "results.tsv", content), chosen(**overrides))


def reasons(log: LoopLog) -> dict[int, str]:
    return dict(zip(log.excluded["row"], log.excluded["reason"], strict=True))


def data_lines(text: str) -> int:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return len(lines) - 1 - (lines[-1] == "")


def test_a_log_in_the_original_format_is_read_row_by_row(tmp_path: Path) -> None:
    log = read(tmp_path, LOG)
    assert (log.file, log.metric, log.direction) == ("results.tsv", "val_bpb", "lower")
    assert log.rows.to_dict("list") == {
        "row": [1, 2, 4],
        "label": ["a1", "b2", "d4"],
        "value": [1.3, 1.31, 1.29],
        "kept": [True, False, True],
        "description": ["baseline", "wider", "narrower"],
    }
    assert log.excluded.to_dict("records") == [
        {"row": 3, "reason": "status crash: nothing was measured", "text": "c3 | 0.000000 | 0.0 | crash | too deep"}
    ]


def test_columns_are_found_by_name_in_any_order_and_case(tmp_path: Path) -> None:
    log = read(tmp_path, "Status\textra\tDescription\tVal_BPB\thash\nKEEP \t7\tfirst\t1.5\tf00\n")
    assert log.rows.to_dict("records") == [
        {"row": 1, "label": "f00", "value": 1.5, "kept": True, "description": "first"}
    ]
    assert "columns not read: extra" in log.notes


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("e5\t1.2\t1\tpending\tx", "unknown status 'pending'"),
        ("e5\t1.2\t1\t\tx", "no status"),
        ("e5\t0.000000\t1\tdiscard\tx", "val_bpb is outside 1e-06 to 100"),
        ("e5\t1e300\t1\tkeep\tx", "val_bpb is outside 1e-06 to 100"),
        ("e5\t-1.2\t1\tkeep\tx", "val_bpb is outside 1e-06 to 100"),
        ("e5\tnan\t1\tkeep\tx", "val_bpb is not finite"),
        ("e5\t-Infinity\t1\tkeep\tx", "val_bpb is not finite"),
        ("e5\t" + "9" * 5000 + "\t1\tkeep\tx", "val_bpb is not finite"),
        ("e5\t\t1\tkeep\tx", "no number in val_bpb"),
        ("e5\t=1+1\t1\tkeep\tx", "no number in val_bpb"),
        ("e5\t1_000\t1\tkeep\tx", "no number in val_bpb"),
        ("e5\t٣\t1\tkeep\tx", "no number in val_bpb"),
        ("e5\t1.2\t1\tkeep", "4 cells, the header has 5"),
        ("e5\t1.2\t1\tkeep\tx\ty", "6 cells, the header has 5"),
        ("The run stopped here.", "text, not a row of the table"),
        ("", "empty line"),
    ],
)
def test_a_row_that_is_not_sure_is_left_out_with_the_reason(tmp_path: Path, line: str, reason: str) -> None:
    log = read(tmp_path, f"{LOG}{line}\nf6\t1.28\t1\tkeep\tlast\n")
    assert reasons(log)[5] == reason
    assert log.rows["row"].tolist() == [1, 2, 4, 6]


def test_a_formula_stays_text(tmp_path: Path) -> None:
    log = read(tmp_path, LOG + "=cmd|'/C calc'!A0\t1.2\t1\tkeep\t=1+1\n")
    assert log.rows.iloc[-1][["label", "description"]].tolist() == ["=cmd|'/C calc'!A0", "=1+1"]


def test_control_characters_do_not_reach_the_log(tmp_path: Path) -> None:
    log = read(tmp_path, LOG + "x\x1b[31m\t1.2\t1\tkeep\tred\u202e\n\x1b[2Jgone\n")
    texts = [*log.rows["label"], *log.rows["description"], *log.excluded["text"]]
    assert all(text.isprintable() for text in texts)


def test_a_repeated_commit_is_kept_and_noted(tmp_path: Path) -> None:
    log = read(tmp_path, LOG + "a1\t1.301\t1\tdiscard\tagain\n")
    assert log.rows["label"].tolist() == ["a1", "b2", "d4", "a1"]
    assert "1 label stands on more than one row, each kept as a row of its own: a1 (rows 1, 5)" in log.notes


def test_a_row_without_a_commit_is_called_by_its_number(tmp_path: Path) -> None:
    log = read(tmp_path, LOG + "\t1.2\t1\tdiscard\tx\n")
    assert log.rows["label"].iloc[-1] == "row 5"
    assert read(tmp_path, "val_bpb\n1.3\n1.4\n").rows["label"].tolist() == ["row 1", "row 2"]


@pytest.mark.parametrize(
    ("metric", "kept"), [("val_bpb", [True, False, False, True, False]), ("accuracy", [True, False, True, False, True])]
)
def test_without_a_status_column_what_improves_on_the_best_is_kept_and_this_is_said(
    tmp_path: Path, metric: str, kept: list[bool]
) -> None:
    log = read(tmp_path, f"{metric}\n0.5\n0.5\n0.6\n0.4\n0.7\n")
    assert log.rows["kept"].tolist() == kept
    assert any("no status column" in note for note in log.notes)


def test_kept_rows_that_are_no_better_are_noted_and_a_wrong_direction_shows(tmp_path: Path) -> None:
    falling = HEADER + "".join(f"c{i}\t{1.3 - i / 100}\t1\tkeep\tx\n" for i in range(4))
    assert not any("not better" in note for note in read(tmp_path, falling).notes)
    one = read(tmp_path, falling + "e\t1.31\t1\tkeep\tx\n").notes
    assert "1 kept row is not better than the best kept before (row 5)" in one
    assert any("is the direction right?" in note for note in read(tmp_path, falling, direction="higher").notes)


def test_the_first_known_metric_is_judged_and_the_others_are_named(tmp_path: Path) -> None:
    text = "accuracy\tval_loss\tstatus\n0.5\t2.5\tkeep\n0.6\t2.4\tkeep\n"
    log = read(tmp_path, text)
    assert (log.metric, log.direction, log.rows["value"].tolist()) == ("val_loss", "lower", [2.5, 2.4])
    assert "the log also has accuracy; val_loss is judged, since log.metric names no other" in log.notes
    log = read(tmp_path, text, metric="Accuracy")
    assert (log.metric, log.direction, log.rows["value"].tolist()) == ("accuracy", "higher", [0.5, 0.6])
    assert log.notes == ("columns not read: val_loss",)


def test_a_metric_of_ones_own_needs_a_direction(tmp_path: Path) -> None:
    text = "elo\tstatus\n-5\tkeep\n7\tdiscard\n"
    assert read(tmp_path, text, metric="elo", direction="higher").rows["value"].tolist() == [-5, 7]
    with pytest.raises(InputError, match="log.direction: say whether lower or higher elo is better"):
        read(tmp_path, text, metric="elo")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("commit\tbits\tstatus\na\t1\tkeep\n", "no known metric.*columns: commit, bits, status"),
        ("commit,val_bpb,status\na,1,keep\n", "no known metric.*separated by tabs"),
        ("val_bpb\tval_bpb\n1\t2\n", "column 'val_bpb' stands there twice"),
        (HEADER, "no row can be used .there are none"),
        (HEADER + "a\t0\t1\tcrash\tx\nb\tx\t1\tkeep\tx\n", "no row can be used .*nothing was measured: 1 row"),
        ("", "the first line should name the columns"),
        (LOG.encode() + "caf\xe9".encode("latin-1"), f"byte 0xe9 at position {len(LOG) + 3} is not UTF-8"),
        (LOG.encode() + b"a\0b\n", "line 6: a NUL character"),
        (LOG.encode("utf-16-le"), "NUL character"),
        (LOG.encode("utf-16")[:-1], "is not UTF-16"),
    ],
)
def test_a_file_that_is_no_log_is_refused_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.tsv", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_log(path, chosen())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks_and_windows_line_ends_change_nothing(tmp_path: Path, encoding: str) -> None:
    expected, log = read(tmp_path, LOG), read(tmp_path, LOG.replace("\n", "\r\n").encode(encoding))
    assert log.rows.equals(expected.rows)
    assert log.excluded.equals(expected.excluded)
    assert log.notes == expected.notes


def test_a_long_log_is_the_same_as_its_parts(tmp_path: Path) -> None:
    lines = [f"c{i}\t{2 - i * 1e-6:.6f}\t1\tkeep\tx\n" if i % 3 else f"note {i}\n" for i in range(120_000)]
    log = read(tmp_path, HEADER + "".join(lines))
    assert log.rows["row"].tolist() == [i + 1 for i in range(120_000) if i % 3]
    assert log.excluded["text"].tolist() == [f"note {i}" for i in range(0, 120_000, 3)]
    assert log.rows["value"].iloc[-1] == float(f"{2 - 119_999 * 1e-6:.6f}")


def test_words_of_the_status_column_mean_one_thing() -> None:
    with pytest.raises(InputError, match="'keep' stands there twice"):
        chosen(statuses={"kept": ["keep"], "discarded": ["keep"], "failed": []})


def test_the_published_logs_are_read_without_an_unexplained_row(published_root: Path) -> None:
    for path in sorted((published_root / "autoresearch").glob("*.tsv")):
        log = read_log(path, chosen())
        assert len(log.rows) + len(log.excluded) == data_lines(path.read_text(encoding="utf-8"))
        assert log.rows["kept"].any()


# Fuzz: a log with every row accounted for, or one line that says what is wrong.


def accounted(tmp_path: Path, content: bytes, encoding: str = "utf-8-sig") -> None:
    log = read_or_refused(lambda: read(tmp_path, content))
    assert log is None or len(log.rows) + len(log.excluded) == data_lines(content.decode(encoding))


CELLS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers(min_value=-(10**400), max_value=10**400).map(
        lambda size: f"{size:e}" if abs(size) < 10**300 else "9" * 400
    ),
    st.sampled_from(
        ["keep", "discard", "crash", "", "=1+1", "=cmd|' /C calc'!A0", "@SUM(1)", "0.000000", "1e999", "48.6%"]
    ),
    st.text(max_size=12),
)
TABLES = st.lists(st.lists(CELLS, max_size=7).map("\t".join), max_size=12)


@FUZZ
@given(rows=TABLES, end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_cells_are_read_or_listed(tmp_path: Path, rows: list[str], end: str) -> None:
    text = end.join([LOG.replace("\n", end).rstrip(), *rows])
    accounted(tmp_path, text.encode("utf-8", "surrogatepass"))


@FUZZ
@given(cut=st.integers(min_value=0, max_value=len(LOG)), tail=st.binary(max_size=40))
def test_a_cut_file_with_any_bytes_after_it_is_read_or_refused(tmp_path: Path, cut: int, tail: bytes) -> None:
    accounted(tmp_path, LOG.encode()[:cut] + tail)


@FUZZ
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    accounted(tmp_path, content)


@FUZZ
@given(text=st.text(max_size=60), encoding=st.sampled_from(["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig"]))
def test_any_encoding_is_read_or_refused(tmp_path: Path, text: str, encoding: str) -> None:
    content = (LOG + text).encode(encoding, "replace")
    accounted(tmp_path, content, encoding if encoding in ("utf-16", "utf-8-sig") else "utf-8-sig")


@FUZZ
@given(kept=st.lists(st.sampled_from(["commit", "val_bpb", "memory_gb", "status", "description"]), unique=True))
def test_any_choice_of_columns_is_read_or_refused(tmp_path: Path, kept: list[str]) -> None:
    table = [line.split("\t") for line in LOG.splitlines()]
    places = [table[0].index(name) for name in kept]
    text = "\n".join("\t".join(row[place] for place in places) for row in table)
    accounted(tmp_path, text.encode())
    if "val_bpb" not in kept:
        with pytest.raises(InputError):
            read(tmp_path, text)
