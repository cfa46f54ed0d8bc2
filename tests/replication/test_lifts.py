"""Programs run with parts lifted where that is asked for, records say which, and nothing said of it is trusted."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from replication import lifts
from replication.answer import parts
from replication.certificate import CertificateSettings
from replication.configure import compose
from replication.lift import PARTS, lift
from replication.lifts import table, try_all, try_one
from replication.provenance import NUMERIC_SOURCES, ROOT
from replication.settings import InputError, typed
from replication.wire import WireError

# One causal filter as programs write them.
FILTERS = """
import torch
from torch import nn
from torch.nn import functional as F
from einops import rearrange

LOADED = [0]

class Filter(nn.Module):
    def __init__(self, heads, width, taps):
        super().__init__()
        self.taps = taps
        self.kernel = nn.Parameter(torch.randn(heads * width, 1, taps) / taps)

    def forward(self, value):
        n, t, heads, width = value.shape
        rows = rearrange(value, "n t g w -> n (g w) t")
        rows = F.pad(rows, (self.taps - 1, 0))
        smooth = F.conv1d(rows, self.kernel, groups=heads * width)
        return rearrange(smooth, "n (g w) t -> n t g w", g=heads)

class Mixer(nn.Module):
    def __init__(self, hidden_size, num_heads, layer_idx):
        super().__init__()
        self.heads = num_heads
        self.proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.filter = Filter(num_heads, hidden_size // num_heads, 5)

    def forward(self, x):
        LOADED[0] += 1
        y = rearrange(self.proj(x), "n t (g w) -> n t g w", g=self.heads)
        return rearrange(self.filter(y), "n t g w -> n t (g w)"){more}
"""
PLAIN = FILTERS.replace("{more}", "")
COUNTING = FILTERS.replace("{more}", " * (1 + LOADED[0] / 99)")  # a counter that a proof must not move


@pytest.fixture(scope="module")
def settings() -> CertificateSettings:
    return typed(CertificateSettings, compose("replicate", [])["certificate"], "certificate")


@pytest.mark.parametrize("training", ["separate", "joint"])
def test_a_run_with_lifted_parts_says_which_and_comes_out_nearly_the_same(rig: Any, training: str) -> None:
    shape = {"num_layers": 2, "honest": rig.honest, "training": training}
    written, curve = rig.measure(PLAIN, **shape)
    lifted, other = rig.measure(PLAIN, lift=True, **shape)
    assert (lifted.status, lifted.error) == ("ok", None)
    assert lifted.lifted == dict.fromkeys(PARTS, "absent") | {"filters": "lifted"}
    assert written.lifted == {}
    assert lifted.run_id != written.run_id
    assert other == pytest.approx(curve, rel=1e-4)
    assert lifted.val_loss == pytest.approx(written.val_loss, rel=1e-4)
    again, same = rig.measure(PLAIN, lift=True, **shape)
    assert (again.val_loss, same.tobytes()) == (lifted.val_loss, other.tobytes())


@pytest.mark.parametrize("when", ["self.training and self.calls == 5", "not self.training and self.calls > 12"])
def test_the_lifted_text_is_what_runs_in_training_and_in_evaluation(rig: Any, when: str) -> None:
    tell = f"self.calls = getattr(self, 'calls', 0) + 1\n        if {when}: raise ValueError('_lifted' in globals())"
    source = PLAIN.replace("LOADED[0] += 1", tell)
    found = [rig.measure(source, lift=lift)[0] for lift in (False, True)]
    assert [(record.error or "").partition(": ")[2] for record in found] == ["ValueError: False", "ValueError: True"]


def test_what_the_proof_leaves_in_a_programs_module_does_not_reach_its_run(rig: Any) -> None:
    written, curve = rig.measure(COUNTING)
    lifted, other = rig.measure(COUNTING, lift=True)
    assert lifted.lifted["filters"] == "lifted"
    assert other == pytest.approx(curve, rel=1e-3)
    assert lifted.val_loss == pytest.approx(written.val_loss, rel=1e-3)


def test_a_program_with_nothing_to_lift_has_the_bits_that_it_has_as_written(rig: Any) -> None:
    written, curve = rig.measure()
    lifted, other = rig.measure(lift=True)
    assert lifted.lifted == dict.fromkeys(PARTS, "absent")
    assert (lifted.val_loss, other.tobytes()) == (written.val_loss, curve.tobytes())


def test_a_program_that_claims_what_cannot_be_lifted_is_a_crash(rig: Any) -> None:
    claim = (
        "json = __import__('json'); plain = json.dumps; "
        "json.dumps = lambda v, **k: plain({**v, 'lifted': {'head_gate': 'lifted'}} if 'trained' in v else v, **k)"
    )
    record, _ = rig.measure(f"{claim}\n{rig.source()}", lift=True)
    assert record.status == "crashed"
    assert "head_gate" in (record.error or "")


@pytest.mark.parametrize("told", [None, [], {"other": "lifted"}, {"filters": 1}, {"filters": None}])
def test_parts_of_another_form_are_refused(told: object) -> None:
    with pytest.raises(WireError):
        parts({"kind": "lift", "lifted": told})


def test_what_is_said_of_a_part_is_one_short_printable_line() -> None:
    (line,) = parts({"lifted": {"filters": "a\nb\x1b[2J" + 9999 * "c"}}).values()
    assert line.startswith("a b [2Jccc")
    assert (line.isprintable(), len(line)) == (True, 500)


def test_every_file_that_decides_what_is_lifted_belongs_to_the_code_of_a_run() -> None:
    taking_part = {path for pattern in NUMERIC_SOURCES for path in ROOT.glob(pattern)}
    assert set((ROOT / "replication" / "lift").rglob("*.py")) <= taking_part


# The table of many programs.


def test_a_table_has_a_row_a_program_with_what_became_of_each_part(rig: Any, settings: CertificateSettings) -> None:
    programs = [rig.candidate(PLAIN, "a"), rig.candidate(rig.source(), "b"), rig.candidate(PLAIN, "again")]
    found = try_all(programs, settings, rig.worker.settings)
    assert found[programs[0].id] == lift(PLAIN, 16, 2).parts
    assert found[programs[1].id] == dict.fromkeys(PARTS, "absent")
    assert len(found) == 2
    rows = [{"index": str(i), "name": p.name, **found[p.id]} for i, p in enumerate(programs)]
    read = list(csv.DictReader(io.StringIO(table(rows))))
    assert list(read[0]) == ["index", "name", *PARTS]
    assert [row["filters"] for row in read] == ["lifted", "absent", "lifted"]


@pytest.mark.parametrize(
    ("spoil", "seconds", "reason"),
    [
        (lambda source: source.replace("LOADED = [0]", "torch.os._exit(3)"), 60.0, "exit code 3 before its result"),
        (lambda source: source.replace("LOADED = [0]", "while True: pass"), 1.0, "killed at its time limit"),
        (lambda source: source.replace("LOADED = [0]", "raise SystemExit"), 60.0, "SystemExit"),
    ],
)
def test_a_program_that_cannot_be_tried_says_why_in_every_column(
    rig: Any, settings: CertificateSettings, spoil: Callable[[str], str], seconds: float, reason: str
) -> None:
    limited = dataclasses.replace(settings, seconds=seconds)
    told = try_one(rig.worker, rig.candidate(spoil(PLAIN)), limited, rig.worker.settings)
    assert set(told) == set(PARTS)
    assert all(reason in line for line in told.values())
    assert try_one(rig.worker, rig.candidate(PLAIN), settings, rig.worker.settings)["filters"] == "lifted"


def test_the_command_writes_the_table_of_a_gallery(
    rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = {7: rig.candidate(PLAIN, "seven"), 3: rig.candidate(rig.source(), "three")}
    monkeypatch.setattr(lifts, "load_gallery", lambda _: programs)
    lifts.run_lift([f"paths.results={tmp_path}", "engine.device=cpu", "engine.processes=1"])
    rows = list(csv.DictReader((tmp_path / "lift.csv").open()))
    assert [(row["index"], row["name"], row["filters"]) for row in rows] == [
        ("3", "three", "absent"), ("7", "seven", "lifted")
    ]  # fmt: skip
    assert "filters         1 absent, 1 lifted" in capsys.readouterr().out


def test_a_docstring_that_python_has_to_escape_does_not_keep_a_program_as_written(
    rig: Any, settings: CertificateSettings
) -> None:
    source = f'"""Its docstring has a \\\\ and a \\u2028."""\n{PLAIN}'
    assert try_one(rig.worker, rig.candidate(source), settings, rig.worker.settings)["filters"] == "lifted"


def test_a_record_with_lifted_parts_is_read_as_it_was_written(rig: Any) -> None:
    record, _ = rig.measure(PLAIN, lift=True)
    assert type(record).from_json(record.to_json(), "here") == record


def test_a_program_whose_answer_is_no_time_has_no_time(rig: Any) -> None:
    told = {"kind": "time", "lifted": dict.fromkeys(PARTS, "absent"), "published": 1.0, "after": 1.0, "shares": {}}
    assert lifts._times(told).row["ratio"] == "1.000"
    wrongs: list[dict[str, Any]] = [{"published": 0.0}, {"after": "fast"}, {"shares": []}, {"shares": {"filters": 0.1}}]
    for wrong in (*wrongs, {"lifted": {}}):
        with pytest.raises(lifts._Unanswered):
            lifts._times(told | wrong)


def test_the_command_writes_the_times_of_a_gallery(
    rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = PLAIN.replace("LOADED[0] += 1", "raise ValueError('broken')")
    programs = {i: rig.candidate(source, name) for i, source, name in ((7, PLAIN, "seven"), (3, broken, "three"))}
    monkeypatch.setattr(lifts, "load_gallery", lambda _: programs)
    lifts.run_lift([f"paths.results={tmp_path}", "engine.processes=1", "scale=smoke", "time=true"])
    three, seven = csv.DictReader((tmp_path / "lift_time.csv").open())
    assert list(seven) == list(lifts.TIME_COLUMNS)
    assert (three["published_ms"], three["ratio"]) == ("", "")
    assert "ValueError: broken" in three["error"]
    assert (seven["index"], seven["scale"], seven["error"]) == ("7", "smoke", "")
    assert float(seven["ratio"]) == pytest.approx(float(seven["published_ms"]) / float(seven["lifted_ms"]), rel=0.1)
    assert float(seven["share_filters"]) > 0
    assert seven["share_delta_rule"] == ""
    assert "1 programs at smoke" in capsys.readouterr().out
    assert not (tmp_path / "lift.csv").exists()


def test_times_are_asked_for_with_true_or_false() -> None:
    with pytest.raises(InputError, match="time: true or false, got maybe"):
        lifts.run_lift(["time=maybe"])
