"""Which kept improvements of a single-seed log are real: on logs whose truth is known."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from audit.finding import Finding, findings_document
from audit.manifest import plan_sha256
from audit.single_seed import SingleSeedSettings, audit, methods_in_use
from audit.single_seed.keeps import judge
from audit.single_seed.log import LoopLog
from audit.single_seed.page import plan_table, tables
from audit.sources.autoresearch import LogSettings, read_log
from audit.statistics.check import Check
from audit.statistics.simulation_claims import CLAIM_CHECKS
from audit.statistics.simulation_gains import GAIN_CHECKS
from replication.provenance import ROOT
from replication.settings import InputError, typed

VALUES = (2.0, 2.01, 1.5, 1.6, 1.499, 1.7, 1.52, 1.51, 1.9, 1.5005)
KEPT = (1, 0, 1, 0, 1, 0, 0, 0, 0, 0)


@pytest.fixture(scope="module")
def cfg() -> SingleSeedSettings:
    return typed(SingleSeedSettings, yaml.safe_load((ROOT / "conf/audit/single_seed.yaml").read_text("utf-8")), "audit")


def make_log(values=VALUES, kept=KEPT, labels=None, descriptions=None, direction="lower", first=1) -> LoopLog:
    numbers = range(first, first + len(values))
    rows = pd.DataFrame(
        {
            "row": pd.Series(numbers, dtype="int64"),
            "label": pd.Series(labels or [f"c{i}" for i in numbers], dtype=str),
            "value": pd.Series(values, dtype="float64"),
            "kept": pd.Series([bool(k) for k in kept], dtype=bool),
            "description": pd.Series(descriptions or [""] * len(values), dtype=str),
        }
    )
    excluded = pd.DataFrame({"row": [first + len(values)], "reason": ["the run failed"], "text": ["x\t0.0\tcrash"]})
    return LoopLog(
        file="my log.tsv", metric="loss", direction=direction, rows=rows, excluded=excluded, notes=("A note.",)
    )


def by_kind(findings: list[Finding]) -> dict[str, Finding]:
    return {f.details["kind"]: f for f in findings if f.details["kind"] != "keep"}


def outcomes(log: LoopLog, cfg: SingleSeedSettings) -> dict[int, str]:
    return {f.details["row"]: f.details["outcome"] for f in audit(log, cfg) if f.details["kind"] == "keep"}


def with_noise(cfg: SingleSeedSettings, sd: float, runs: int | None = None) -> SingleSeedSettings:
    return dataclasses.replace(cfg, noise_sd=sd, noise_runs=runs)


def test_the_settings_on_disk_are_the_registered_plan(cfg):
    assert plan_sha256(cfg.plan) == cfg.registered_plan


def test_a_known_noise_is_evidence_and_no_change_of_plan(cfg):
    assert with_noise(cfg, 0.1, 5).plan == cfg.plan
    assert dataclasses.replace(cfg, level=0.9).plan != cfg.plan


def test_a_gain_far_above_the_noise_is_real_and_one_inside_it_is_open(cfg):
    assert outcomes(make_log(), with_noise(cfg, 0.01)) == {3: "real", 5: "open"}


def test_a_gain_that_must_be_smaller_than_anything_of_interest_is_called_noise(cfg):
    wide = dataclasses.replace(with_noise(cfg, 0.001), sesoi=0.1)
    assert outcomes(make_log(), wide) == {3: "real", 5: "noise"}


def test_a_keep_that_is_no_better_is_said_to_be_none(cfg):
    log = make_log(values=(2.0, 2.0, 2.1, 1.0), kept=(1, 1, 1, 1))
    assert outcomes(log, with_noise(cfg, 0.01)) == {2: "no_gain", 3: "no_gain", 4: "real"}


def test_the_reference_is_the_best_kept_before_and_not_the_last_kept(cfg):
    log = make_log(values=(2.0, 1.0, 1.5, 0.9), kept=(1, 1, 1, 1))
    judged = judge(log, with_noise(cfg, 0.01), frozenset())
    assert judged.keeps["before_row"].tolist() == [1, 2, 2]
    assert judged.keeps["gain"].tolist() == pytest.approx([1.0, -0.5, 0.1])


def test_more_proposals_make_the_same_gain_less_significant(cfg):
    few = judge(make_log(), with_noise(cfg, 0.15), frozenset()).keeps["p_adjusted"].iloc[0]
    many = make_log(values=(*VALUES, *[1.8] * 90), kept=(*KEPT, *[0] * 90))
    assert judge(many, with_noise(cfg, 0.15), frozenset()).keeps["p_adjusted"].iloc[0] > 5 * few


def test_higher_is_better_mirrors_lower_is_better(cfg):
    settings = dataclasses.replace(with_noise(cfg, 0.01), sesoi=0.005)
    mirrored = make_log(values=tuple(-value for value in VALUES), direction="higher")
    first, second = (judge(log, settings, frozenset()).keeps for log in (make_log(), mirrored))
    for column in ("gain", "p_adjusted", "low", "high", "shrunk", "break_even_sd", "outcome"):
        assert first[column].tolist() == second[column].tolist()
    lower, higher = (by_kind(audit(log, settings))["best"] for log in (make_log(), mirrored))
    assert higher.interval == pytest.approx((-lower.interval[1], -lower.interval[0]))


def test_repeated_rows_measure_the_noise(cfg):
    labels, words = ["a", "a", "b", *"cdefghi"], ["same", " Same", "other", *"cdefghi"]
    floor = judge(make_log(labels=labels, descriptions=words), cfg, frozenset()).floor
    assert (floor.route, floor.rows, floor.df) == ("repeats", (1, 2), 1)
    assert floor.sd == pytest.approx(0.01 / math.sqrt(2))
    assert floor.interval[0] < floor.sd < floor.interval[1]


@pytest.mark.parametrize(
    ("labels", "words", "route"),
    [
        (["a", "a", *"cdefghij"], list("abcdefghij"), "same_label"),
        (list("abcdefghij"), ["again", "again", *"cdefghij"], "same_description"),
    ],
)
def test_nearly_identical_rows_are_named_as_such(cfg, labels, words, route):
    log = make_log(labels=labels, descriptions=words)
    assert judge(log, cfg, frozenset()).floor.route == route
    assert "may differ in truth" in by_kind(audit(log, cfg))["noise_floor"].answer


def test_a_line_written_twice_measures_nothing_and_is_counted(cfg):
    log = make_log(values=(2.0, 2.0, *VALUES[2:]), labels=["a", "a", *"cdefghij"])
    floor = judge(log, cfg, frozenset()).floor
    assert (floor.route, floor.equal) == ("spread", 1)
    assert "agree to the last digit" in by_kind(audit(log, cfg))["noise_floor"].answer


def test_empty_descriptions_are_not_the_same_program(cfg):
    assert judge(make_log(), cfg, frozenset()).floor.route == "spread"


def test_without_repeats_only_what_holds_at_the_largest_possible_noise_is_real(cfg):
    rng = np.random.default_rng(0)
    values = [3.0, *(3.0 + rng.normal(0, 0.01, 20)), 1.0]
    log = make_log(values=values, kept=[1, *[0] * 20, 1])
    judged = judge(log, cfg, frozenset())
    assert judged.floor.route == "spread"
    assert judged.floor.sd > 0.01
    assert judged.keeps["outcome"].tolist() == ["real"]
    assert judged.keeps["p_adjusted"].iloc[0] >= judged.floor.spent  # the limit itself may be wrong
    assert judged.keeps["shrunk"].isna().all()  # a limit is no estimate
    finding = by_kind(audit(log, cfg))["noise_floor"]
    assert finding.estimate is None
    assert "at most" in finding.answer


def test_a_short_log_without_repeats_settles_nothing_and_gives_break_even_noise(cfg):
    log = make_log(values=VALUES[:4], kept=KEPT[:4])
    judged = judge(log, cfg, frozenset())
    assert (judged.floor.route, judged.keeps["outcome"].tolist()) == ("none", ["open"])
    break_even = judged.keeps["break_even_sd"].iloc[0]
    assert outcomes(log, with_noise(cfg, 0.99 * break_even)) == {3: "real"}
    assert outcomes(log, with_noise(cfg, 1.01 * break_even)) == {3: "open"}
    kinds = by_kind(audit(log, cfg))
    assert "no measure of noise" in kinds["noise_floor"].answer
    assert {"best", "running_best_bias"}.isdisjoint(kinds)


def test_seeds_are_planned_for_the_smallest_gain_of_interest_and_never_for_the_gain_seen(cfg):
    settings = dataclasses.replace(with_noise(cfg, 0.01), sesoi=0.01)
    small = judge(make_log(), settings, frozenset())
    other = judge(make_log(values=(2.0, 2.01, 1.5, 1.6, 1.495, *VALUES[5:])), settings, frozenset())
    assert small.keeps["outcome"].tolist() == other.keeps["outcome"].tolist() == ["real", "open"]
    assert small.seeds == other.seeds
    finer = judge(make_log(), dataclasses.replace(settings, sesoi=0.005), frozenset())
    assert finer.seeds > 3 * small.seeds
    uncertain = judge(make_log(), dataclasses.replace(settings, noise_runs=5), frozenset())
    assert uncertain.seeds > small.seeds


def test_a_plan_without_repeats_starts_by_measuring_the_noise(cfg):
    table = plan_table(judge(make_log(), cfg, frozenset()), cfg)
    assert table.iloc[0][["row", "seeds"]].tolist() == [1, cfg.noise_seeds]
    assert table["row"].tolist()[1:] == [5]
    known = plan_table(judge(make_log(), with_noise(cfg, 0.01), frozenset()), cfg)
    assert known["row"].tolist() == [5]


def test_keeps_under_noise_alone_are_counted_against_all_measured_runs(cfg):
    finding = by_kind(audit(make_log(), cfg))["null_keeps"]
    assert finding.estimate == pytest.approx(sum(1 / i for i in range(2, 11)))
    assert finding.details["observed"] == 2
    assert 0.1 < finding.p_value < 1.0


def test_the_bias_of_the_running_best_grows_with_the_noise_and_the_number_of_runs(cfg):
    def bias(log, sd):
        return by_kind(audit(log, with_noise(cfg, sd)))["running_best_bias"].estimate

    longer = make_log(values=(*VALUES, *[1.8] * 90), kept=(*KEPT, *[0] * 90))
    assert bias(make_log(), 0.02) == pytest.approx(2 * bias(make_log(), 0.01))
    assert bias(longer, 0.01) > bias(make_log(), 0.01)


def test_the_true_value_of_the_best_is_sought_on_the_worse_side(cfg):
    finding = by_kind(audit(make_log(), with_noise(cfg, 0.01)))["best"]
    low, high = finding.interval
    assert low < 1.499 < high
    assert high - 1.499 > 1.499 - low


def test_every_row_is_in_one_table_and_every_exclusion_in_a_finding(cfg):
    log = make_log()
    found = tables(log, audit(log, cfg), cfg)
    used, left_out = found["single_seed_my_log-" + _tail(log, cfg) + "_proposals"], log.excluded
    assert sorted([*used["row"], *left_out["row"]]) == list(range(1, 12))
    assert by_kind(audit(log, cfg))["rows"].details["left_out"] == {"the run failed": 1}
    assert "A note." in by_kind(audit(log, cfg))["rows"].answer


def _tail(log, cfg):
    return judge(log, cfg, frozenset()).slug.removeprefix("my_log-")


@pytest.mark.parametrize(
    ("values", "kept"), [((), ()), ((1.0, 2.0), (0, 0)), ((1.0,), (1,)), ((3.0, 1.0, 2.0), (0, 0, 1))]
)
def test_logs_with_nothing_to_compare_say_so(cfg, values, kept):
    findings = audit(make_log(values=values, kept=kept), cfg)
    document = findings_document("verify_claims", findings)
    assert [finding["verdict"] for finding in document["findings"]] == ["measured"] * len(findings)
    assert by_kind(findings)["keeps"].estimate == 0
    assert not [f for f in findings if f.details["kind"] in ("keep", "null_keeps")]


def test_a_start_of_zero_asks_for_a_smallest_gain(cfg):
    with pytest.raises(InputError, match=r"my log\.tsv.*audit\.sesoi"):
        audit(make_log(values=(0.0, -1.0), kept=(1, 1)), cfg)
    assert audit(make_log(values=(0.0, -1.0), kept=(1, 1)), dataclasses.replace(cfg, sesoi=0.1))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"level": 95.0}, "level"),
        ({"sesoi": 0.0}, "sesoi"),
        ({"noise_sd": -1.0}, "noise_sd"),
        ({"noise_runs": 5}, "noise_sd"),
        ({"noise_sd": 1.0, "noise_runs": 1}, "noise_runs"),
        ({"max_seeds": 1}, "max_seeds"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(cfg, change, name):
    with pytest.raises(InputError, match=rf"audit\.{name}"):
        dataclasses.replace(cfg, **change)


def test_only_the_largest_gains_get_findings_of_their_own(cfg):
    few = dataclasses.replace(with_noise(cfg, 0.01), most_findings=1)
    assert list(outcomes(make_log(), few)) == [3]


def test_intervals_that_calibration_fails_are_not_shown_and_tables_agree(cfg):
    log, settings = make_log(), with_noise(cfg, 0.01)
    m = len(VALUES) - 1
    findings = audit(log, settings, frozenset({("gain_limits", m), ("shrink", m), ("best_reach", m)}))
    document = findings_document("verify_claims", findings)
    assert all(f["interval"] is None for f in document["findings"])
    shown = next(table for name, table in tables(log, findings, settings).items() if name.endswith("proposals"))
    assert shown[["low", "shrunk"]].isna().all().all()


def test_every_method_in_use_has_a_calibration_check(cfg):
    known = {check.method for check in (*GAIN_CHECKS, *CLAIM_CHECKS) if isinstance(check, Check)}
    labels = ["a", "a", *"cdefghij"]
    used = {
        method
        for log in (make_log(), make_log(labels=labels))
        for settings in (cfg, with_noise(cfg, 0.01), with_noise(cfg, 0.01, 4))
        for method, _ in methods_in_use(log, settings)
    }
    assert used == {
        "gain_p_values", "gain_p_values.repeats", "gain_limits", "best_reach", "noise_limit", "pooled_sd", "shrink",
    }  # fmt: skip
    assert used <= known


def test_the_same_log_gives_the_same_findings(cfg):
    assert findings_document("verify_claims", audit(make_log(), cfg)) == findings_document(
        "verify_claims", audit(make_log(), cfg)
    )


def test_published_logs_are_judged_row_by_row(cfg, published_root):
    settings = typed(LogSettings, yaml.safe_load((ROOT / "conf/log/default.yaml").read_text("utf-8")), "log")
    paths = sorted(Path(published_root).glob("autoresearch/*.tsv"))
    assert paths
    for path in paths:
        log = read_log(path, settings)
        found = outcomes(log, cfg)
        kept = log.rows.loc[log.rows["kept"], "row"].tolist()
        assert sorted(found) == kept[1:]
        assert set(found.values()) <= {"real", "noise", "open", "no_gain"}
        kinds = by_kind(audit(log, cfg))
        assert kinds["noise_floor"].details["route"] in ("repeats", "same_label", "same_description", "spread", "none")
