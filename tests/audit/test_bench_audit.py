"""The bench's targets: what counts as met, and what a report says where there was no GPU."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from audit.bench import page
from audit.bench.audit import audit, ceiling, median_interval, ratios, target_table, with_shares
from audit.bench.figures import APART, _spread
from audit.bench.plan import BenchAuditSettings
from audit.bench.session import run_bench
from audit.manifest import plan_sha256
from replication.bench.table import COLUMNS, table, write_files
from replication.configure import compose
from replication.settings import InputError, typed

SLOW_FIR = (("eager", 3.3), ("ours", 1.0))
BASELINES = ("delta_net", "gated_delta_net")
ABOUT = {
    "machine": "machine", "gpu": None, "cpu": "machine", "cores": 2, "device": "cpu", "dry_run": False,
    "python": "3.11", "packages": {"torch": "2.13"}, "commit": None, "started": "2026-01-01T00:00:00+00:00",
    "minutes": 1.0, "settings": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def cfg():
    return typed(BenchAuditSettings, compose("bench", [])["audit"], "audit")


def row(kind, name, form, seconds, *, device="cuda", spread=0.0, **more):
    times = {"seconds": seconds, "low": seconds * (1 - spread), "high": seconds * (1 + spread)}
    known = {"kind": kind, "name": name, "form": form, "device": device, "status": "ok", "dtype": "bfloat16"}
    return dict.fromkeys(COLUMNS) | known | times | {"size": "340M", "shape": "B8 T2048"} | more


def programs(slow, fast, *, count=10, **more):
    steps = [("published", slow), ("ours", fast)]
    return [row("step", f"program_{i}", form, s, size="final", **more) for i in range(count) for form, s in steps]


def frame_of(rows, **about):
    return table(rows, dry=False).assign(machine=(ABOUT | about)["machine"])


def found(cfg, rows):
    return {each.id.removeprefix("bench."): each for each in audit(frame_of(rows), BASELINES, cfg)}


def outcome(cfg, rows, name):
    return found(cfg, rows)[name].details["outcome"]


def test_a_ratio_above_its_target_is_met_and_one_below_is_not(cfg):
    assert outcome(cfg, programs(1.9, 1.0), "step_published") == "met"
    assert outcome(cfg, programs(1.7, 1.0), "step_published") == "not met"


def test_a_target_is_met_only_where_the_lower_end_reaches_it(cfg):
    eager, ours = (row("operator", "fir", form, s, shape="taps 5+64", spread=0.1) for form, s in SLOW_FIR)
    noisy = found(cfg, [eager, ours])["fir_conv1d"]
    assert noisy.estimate == pytest.approx(3.3)
    assert noisy.details["low"] == pytest.approx(3.3 * 0.9 / 1.1)
    assert noisy.details["high"] == pytest.approx(3.3 * 1.1 / 0.9)
    assert noisy.details["outcome"] == "not met"


def test_over_programs_the_median_counts_with_an_interval_from_their_order(cfg):
    ratios_of_ten = [1.0, 1.7, 1.9, 2.0, 2.1, 2.3, 2.4, 2.5, 2.6, 9.0]
    rows = [row("step", f"program_{i}", form, s, size="final")
            for i, ratio in enumerate(ratios_of_ten) for form, s in (("published", ratio), ("ours", 1.0))]  # fmt: skip
    judged = found(cfg, rows)["step_published"]
    assert judged.estimate == pytest.approx(2.2)
    assert (judged.details["low"], judged.details["high"]) == (1.7, 2.6)  # 2nd and 9th of ten: 97.9%
    assert judged.details["outcome"] == "not met"


def test_the_interval_of_a_median_covers_it_as_often_as_it_says():
    draws = np.random.default_rng(0).exponential(size=(4000, 10))
    covered = [low <= np.log(2) <= high for low, high in (median_interval(draw, 0.95) for draw in draws)]
    assert 0.95 <= np.mean(covered) <= 0.99
    assert median_interval(np.arange(6.0), 0.95) == (0.0, 5.0)


def test_baselines_do_not_count_among_the_published_programs(cfg):
    slow = [row("step", "delta_net", form, 1.0, size="final") for form in ("published", "ours")]
    assert found(cfg, programs(1.9, 1.0) + slow * 1)["step_published"].n == 10


def test_too_few_programs_are_no_measurement(cfg):
    few = found(cfg, programs(9.0, 1.0, count=cfg.least_programs - 1))["step_published"]
    assert (few.verdict, few.estimate, few.details["outcome"]) == ("not_testable", None, "not measured")
    assert outcome(cfg, programs(9.0, 1.0, count=cfg.least_programs), "step_published") == "met"


@pytest.mark.parametrize("status", ["wrong", "dry run", "timed out", "not reached"])
def test_rows_that_are_not_sound_never_count(cfg, status):
    rows = [each | {"status": status} if each["form"] == "ours" else each for each in programs(9.0, 1.0)]
    assert outcome(cfg, rows, "step_published") == "not measured"


def test_times_of_a_cpu_do_not_count_for_a_target_of_a_gpu(cfg):
    judged = found(cfg, programs(9.0, 1.0, device="cpu"))
    assert judged["step_published"].details["outcome"] == "not measured"


def test_of_several_shapes_of_an_operator_the_worst_counts(cfg):
    times = {("D32", "eager"): 9.0, ("D32", "ours"): 1.0, ("D128", "eager"): 4.0, ("D128", "ours"): 1.0}
    rows = [row("operator", "branch_mix", form, s, shape=shape) for (shape, form), s in times.items()]
    judged = found(cfg, rows)["mix_eager"]
    assert (judged.estimate, judged.details["outcome"], judged.n) == (4.0, "not met", 2)


def test_a_shape_is_matched_as_whole_words(cfg):
    target = next(each for each in cfg.targets if each.name == "delta_fla")
    rows = [row("operator", "delta_rule", form, s, shape=f"B8 T2048 H8 {head}")
            for head in ("D32", "D320") for form, s in (("fla", 3.0), ("ours", 1.0))]  # fmt: skip
    assert ratios(frame_of(rows), target, BASELINES)["shape"].tolist() == ["B8 T2048 H8 D32"]


def test_memory_is_a_ratio_of_bytes(cfg):
    rows = [row("operator", "head_gate", "eager", 1.0, saved_bytes=120.0),
            row("operator", "head_gate", "ours", 1.0, saved_bytes=10.0)]  # fmt: skip
    judged = found(cfg, rows)
    assert (judged["gate_memory"].estimate, judged["gate_memory"].details["outcome"]) == (12.0, "met")
    assert judged["gate_time"].details["outcome"] == "not met"


def test_forms_are_paired_within_a_machine(cfg):
    target = next(each for each in cfg.targets if each.name == "gate_time")
    frame = frame_of([row("operator", "head_gate", "eager", 4.0), row("operator", "head_gate", "ours", 1.0)])
    frame.loc[1, "machine"] = "another"
    assert ratios(frame, target, BASELINES).empty


def test_the_share_of_the_ceiling_is_the_shortest_time_over_the_time_taken(cfg):
    rows = [
        row("ceiling", "copy", "float32", 1.0, bytes=100.0, flops=0.0, dtype="float32"),
        row("ceiling", "matmul", "bfloat16", 1.0, bytes=1.0, flops=1000.0),
        row("operator", "fir", "ours", 4.0, bytes=200.0, flops=500.0),
        row("operator", "fir", "eager", 9.0, graph_seconds=8.0, bytes=100.0, flops=4000.0),
    ]
    frame = frame_of(rows)
    assert ceiling(frame, "machine", "bfloat16", "cuda") == (100.0, 1000.0)
    shares = with_shares(frame)
    assert shares["share_of_ceiling"].tolist() == [0.5, 0.5]  # 2 s of copying in 4 s; 4 s of products in 8 s
    assert shares["intensity"].tolist() == [2.5, 40.0]


def test_columns_of_the_roofline_stand_apart_and_keep_their_order():
    places = _spread([10.0, 10.0, 10.5, 40.0])
    assert all(b / a > APART * 0.99 for a, b in itertools.pairwise(places))
    assert places[3] == pytest.approx(40.0)


def test_the_plan_on_disk_is_the_registered_one(cfg):
    assert plan_sha256(cfg.plan) == cfg.registered_plan


def test_every_target_of_the_plan_has_a_line_and_nothing_unmeasured_is_called_met(cfg):
    findings = audit(frame_of([]), BASELINES, cfg)
    assert {each.verdict for each in findings} == {"not_testable"}
    lines = target_table(findings, cfg)
    assert lines["outcome"].tolist() == ["not measured"] * len(cfg.targets)
    assert page.verdict(findings).endswith(f"0 met, 0 not met, {len(cfg.targets)} not measured.")


def full_table():
    rows = [row("ceiling", "copy", "float32", 1e-3, device="cpu", bytes=1e7, flops=0.0, dtype="float32"),
            row("ceiling", "matmul", "float32", 1e-2, device="cpu", bytes=1e6, flops=1e9, dtype="float32")]  # fmt: skip
    for name, flops in (("fir", 1e6), ("fir", 1.01e6), ("delta_rule", 1e6)):
        more = {"device": "cpu", "dtype": "float32", "bytes": 1e6, "flops": flops, "shape": f"C{flops:g}"}
        rows += [row("operator", name, form, s, **more) for form, s in (("eager", 3e-3), ("ours", 1e-3))]
    rows[-1] |= {"status": "wrong", "reason": "<script>", "seconds": None}
    rows += programs(1.6, 1.0, device="cpu")
    return [each | {"size": "cpu-large"} if each["kind"] == "step" else each for each in rows]


def run_session(tmp_path, *more):
    run_bench([f"table={tmp_path / 'bench.csv'}", f"paths.results={tmp_path / 'results'}", "reference=none.csv", *more])
    return tmp_path / "results/bench/latest"


def test_a_table_measured_elsewhere_becomes_a_report(tmp_path, capsys):
    write_files(tmp_path, table(full_table(), dry=False), ABOUT)
    folder = run_session(tmp_path)
    assert (
        "lifted against as published: 1.60 times over 10 rows; the target is 1.5 times: met." in capsys.readouterr().out
    )
    html = (folder / "report.html").read_text()
    assert "No GPU was at hand" in html
    assert "<script>" not in html
    assert (folder / "figures/roofline.svg").exists()
    outcomes = {each["id"]: each["verdict"] for each in json.loads((folder / "findings.json").read_text())["findings"]}
    assert outcomes["bench.step_cpu"] == "measured"
    assert outcomes["bench.step_fla"] == "not_testable"
    assert (folder / "bench.csv").read_text() == (tmp_path / "bench.csv").read_text()
    assert json.loads((folder / "manifest.json").read_text())["decision_plan"]["as_registered"]


def test_a_kept_measurement_of_a_gpu_stands_beside_ones_own(tmp_path, cfg):
    write_files(tmp_path, table(full_table(), dry=False), ABOUT)
    kept = tmp_path / "kept"
    gpu = ABOUT | {"machine": "a GPU", "gpu": "a GPU", "device": "cuda"}
    write_files(kept, table(programs(1.9, 1.0), dry=False), gpu)
    folder = run_session(tmp_path, f"reference={kept / 'bench.csv'}")
    targets = (folder / "tables/targets.csv").read_text()
    assert "a GPU,met" in targets
    assert "machine,met" in targets


def test_a_missing_table_is_said_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"bench\.csv"):
        run_session(tmp_path)


@pytest.mark.parametrize("status", ["wrong", "out of memory", "not reached"])
def test_where_one_shape_of_an_operator_has_no_ratio_the_worst_of_the_others_is_none(cfg, status):
    shapes = [row("operator", "head_gate", form, s, shape=f"D{d}", saved_bytes=1) for d in (256, 1024)
              for form, s in (("eager", 9.0), ("ours", 1.0))]  # fmt: skip
    assert found(cfg, shapes)["gate_time"].details["outcome"] == "met"
    judged = found(cfg, [*shapes[:3], shapes[3] | {"status": status, "seconds": None}])["gate_time"]
    assert (judged.details["outcome"], judged.estimate, judged.details["lacking"]) == ("not measured", None, 1)
    assert "Without a ratio: 1 of 2." in judged.answer


def test_programs_without_a_ratio_are_told(cfg):
    rows = [*programs(1.9, 1.0), row("step", "program_x", "published", 1.0, size="final")]
    assert "over 10 rows (1 more without a ratio); the target" in found(cfg, rows)["step_published"].answer


def test_forms_of_another_batch_or_number_format_are_not_compared(cfg):
    slow, fast = programs(1.9, 1.0, count=1)
    target = next(each for each in cfg.targets if each.name == "step_published")
    assert len(ratios(frame_of([slow | {"batch": 2}, fast | {"batch": 2}]), target, BASELINES)) == 1
    assert ratios(frame_of([slow | {"batch": 2}, fast | {"batch": 1}]), target, BASELINES).empty
    assert ratios(frame_of([slow, fast | {"dtype": "float32"}]), target, BASELINES).empty


def test_the_page_says_how_many_seeds_at_once_still_pay():
    times = {"ours": 8e-3, "ours_x2": 4e-3, "ours_x4": 2.5e-3, "ours_x8": 2.45e-3}
    rows = [row("step", "delta_net", form, each, size="proxy") for form, each in times.items()]
    (said,) = page.together(frame_of(rows))
    assert said.startswith("delta_net at proxy on machine: 4 seeds at once, 3.20 times as fast as one alone")
    alone = [row("step", "delta_net", form, each, size="proxy") for form, each in (("ours", 1e-3), ("ours_x2", 1e-3))]
    assert "1 seed at once, more at once gain nothing" in page.together(frame_of(alone))[0]
    assert page.together(frame_of(rows[:1])) == []
    assert page.together(frame_of(rows[1:])) == []
