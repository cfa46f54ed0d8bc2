"""Calibration: the passing rules, what a sample of the real thing shows, storage and look-up."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from audit import calibrate as calibrate_module
from audit.calibrate import (
    COLUMNS,
    CalibrateSettings,
    calibrate,
    calibration_status,
    passes,
    read_calibration,
)
from audit.statistics.check import Check, Design, Noises
from audit.statistics.estimate import mean_and_sd
from audit.statistics.noise import SAMPLERS, Sampler, measured
from audit.statistics.simulation import CHECKS
from replication.settings import InputError, typed

CONF = Path(__file__).parents[2] / "conf" / "calibrate.yaml"
REFERENCE = Path(__file__).parents[2] / "results" / "reference" / "calibration.csv"


def settings(folder: Path, **changes: object) -> CalibrateSettings:
    """The shipped settings, cut to a few seconds."""
    small = {"sizes": [5], "repetitions": 400, "output": str(folder / "calibration.csv")}
    return typed(CalibrateSettings, yaml.safe_load(CONF.read_text("utf-8")) | small | changes, "calibrate")


def check(method: str) -> Check:
    return next(check for check in CHECKS if check.method == method)


def too_narrow(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """A normal quantile where Student's belongs: 87.8% at n = 5."""
    mean, sd = mean_and_sd(noise(rng, (n,)))
    return abs(mean) <= 1.96 * sd / math.sqrt(n)


BROKEN = Check("broken", "interval", too_narrow, ("estimate",), Noises(met=("normal",), stress=()))


@pytest.mark.parametrize(
    ("rule", "estimate", "target", "repetitions", "expected"),
    [
        ("interval", 0.9355, 0.95, 20_000, True),
        ("interval", 0.9350, 0.95, 20_000, False),
        ("interval", 0.9645, 0.95, 20_000, True),
        ("interval", 0.9650, 0.95, 20_000, False),
        ("interval", 0.9260, 0.95, 2_000, True),
        ("interval", 0.9250, 0.95, 2_000, False),
        ("conservative", 0.9990, 0.95, 20_000, True),
        ("conservative", 0.9350, 0.95, 20_000, False),
        ("exact", 0.9500, 0.95, 20_000, True),
        ("exact", 0.9499, 0.95, 20_000, False),
        ("test", 0.0546, 0.05, 20_000, True),
        ("test", 0.0547, 0.05, 20_000, False),
        ("test", 0.0000, 0.05, 20_000, True),
    ],
)
def test_the_passing_rules(rule: str, estimate: float, target: float, repetitions: int, expected: bool) -> None:
    assert passes(rule, estimate, target, repetitions) is expected  # type: ignore[arg-type]


def test_an_interval_that_is_too_narrow_is_flagged_and_not_to_be_shown(tmp_path: Path) -> None:
    table = calibrate(settings(tmp_path), [BROKEN])
    row = table.iloc[0]
    assert 0.82 < row["estimate"] < 0.93
    assert not row["passed"]
    assert calibration_status(table, "broken", 5, [BROKEN]).status == "failed"


def test_the_methods_behind_a_verdict_pass_a_small_sample(tmp_path: Path) -> None:
    methods = ["paired_t.interval", "paired_t.p_value", "tost", "sign_test", "probability_of_improvement"]
    table = calibrate(settings(tmp_path), [check(method) for method in methods])
    met = table[table["role"] == "met"]
    assert met["passed"].all(), met[~met["passed"]].to_string()
    for method in methods:
        assert calibration_status(table, method, 5).status == "passed"


def test_the_decision_rule_keeps_its_family_wise_error_in_a_small_sample(tmp_path: Path) -> None:
    methods = [method for method in (c.method for c in CHECKS) if method.startswith("decide.")]
    assert len(methods) == 3
    table = calibrate(settings(tmp_path, sizes=[10], repetitions=150), [check(method) for method in methods])
    assert table["passed"].all(), table.to_string()


def test_a_family_without_correction_would_be_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.statistics.decision.holm", np.asarray)
    table = calibrate(settings(tmp_path, sizes=[10], repetitions=100), [check("decide.difference")])
    assert not table["passed"].any()
    assert (table["estimate"] > 0.3).all()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.method)
def test_every_check_runs_at_its_smallest_size(check: Check) -> None:
    design = Design(level=0.95, resamples=50, candidates=2, baselines=2, scales=2, failure_rate=0.3)
    n = check.bootstrap_from or 5
    for noise in check.noises.met + check.noises.stress:
        first, again = (
            [check.simulate(SAMPLERS[noise], n, np.random.default_rng(seed), design) for seed in range(3)]
            for _ in range(2)
        )
        assert first == again
        assert {type(bool(hit)) for hit in first} == {bool}


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_noise_has_mean_0_and_sd_1(name: str) -> None:
    draws = SAMPLERS[name](np.random.default_rng(0), (200, 2000))
    assert abs(draws.mean()) < 0.01
    assert draws.std() == pytest.approx(1.0, abs=0.05)


def test_measured_noise_is_standardised_and_resampled() -> None:
    draws = measured([3.0, 5.0, 10.0])(np.random.default_rng(0), (20_000,))
    assert len(np.unique(draws)) == 3
    assert (draws.mean(), draws.std()) == pytest.approx((0.0, 1.0), abs=0.03)
    with pytest.raises(ValueError, match="two different"):
        measured([1.0, 1.0])


def test_measured_noise_adds_rows_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "noise.csv"
    pd.DataFrame({"residual": np.random.default_rng(0).normal(size=60)}).to_csv(file, index=False)
    chosen = settings(tmp_path, repetitions=200, seed_noise=str(file))
    table = calibrate(chosen, [check("tost")])
    assert table[table["noise"] == "measured"]["role"].tolist() == ["met"]
    before = table.set_index("noise")["seed"]
    pd.DataFrame({"residual": np.random.default_rng(1).normal(size=60)}).to_csv(file, index=False)
    after = calibrate(chosen, [check("tost")]).set_index("noise")["seed"]
    assert before["measured"] != after["measured"]
    assert before["normal"] == after["normal"]


@pytest.mark.parametrize("content", ["other\n1\n", "residual\nabc\ndef\n", "residual\n1\n1\n", None])
def test_a_noise_file_that_cannot_serve_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "noise.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=r"calibrate\.seed_noise: .*noise\.csv"):
        calibrate(settings(tmp_path, seed_noise=str(file)), [BROKEN])
    assert not (tmp_path / "calibration.csv").exists()


@pytest.mark.parametrize(
    "change", [{"level": 1.0}, {"repetitions": 0}, {"sizes": [5, 1]}, {"failure_rate": 1.0}, {"baselines": 0}]
)
def test_a_setting_out_of_range_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"calibrate.{next(iter(change))}"):
        calibrate(settings(tmp_path, **change), [BROKEN])


def test_the_same_seed_gives_the_same_table_and_another_seed_another(tmp_path: Path) -> None:
    first, again, other = (
        calibrate(settings(tmp_path, seed=seed, reuse=False), [BROKEN])["estimate"].item() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_rows_already_there_are_kept_and_only_the_missing_simulated(tmp_path: Path) -> None:
    counted: list[int] = []

    def counting(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
        counted.append(n)
        return too_narrow(noise, n, rng, design)

    counter = replace(BROKEN, simulate=counting)
    whole = calibrate(settings(tmp_path, sizes=[5, 10], reuse=False), [BROKEN])
    read_calibration(tmp_path / "calibration.csv").iloc[:1].to_csv(tmp_path / "calibration.csv", index=False)
    resumed = calibrate(settings(tmp_path, sizes=[5, 10]), [counter])
    assert counted == [10] * 400
    pd.testing.assert_frame_equal(resumed, whole, check_dtype=False)
    pd.testing.assert_frame_equal(read_calibration(tmp_path / "calibration.csv"), whole, check_dtype=False)


def test_rows_of_other_code_are_replaced_as_their_turn_comes(tmp_path: Path) -> None:
    stored = calibrate(settings(tmp_path, sizes=[5, 10, 20]), [BROKEN]).assign(code_sha256="0" * 64)
    stored.to_csv(tmp_path / "calibration.csv", index=False)

    def interrupted(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
        if n == 10:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        calibrate(settings(tmp_path, sizes=[5, 10, 20]), [replace(BROKEN, simulate=interrupted)])
    table = read_calibration(tmp_path / "calibration.csv")
    assert table["n"].tolist() == [5, 10, 20]
    assert (table["code_sha256"] == "0" * 64).tolist() == [False, True, True]
    assert calibration_status(table, "broken", 5, [BROKEN]).status == "failed"  # covers 100%: too much
    assert calibration_status(table, "broken", 10, [BROKEN]).status == "stale"


def test_a_check_runs_at_its_own_sizes_beside_those_of_the_settings(tmp_path: Path) -> None:
    table = calibrate(settings(tmp_path, sizes=[5, 10]), [replace(BROKEN, also=(3, 5))])
    assert table["n"].tolist() == [3, 5, 10]


def test_an_interruption_leaves_the_finished_rows(tmp_path: Path) -> None:
    def interrupted(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
        if n == 10:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        calibrate(settings(tmp_path, sizes=[5, 10]), [replace(BROKEN, simulate=interrupted)])
    assert read_calibration(tmp_path / "calibration.csv")["n"].tolist() == [5]
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.csv"]


def test_a_file_that_is_no_calibration_table_is_refused_and_left_alone(tmp_path: Path) -> None:
    for content in ("", "a,b\n1,2\n"):
        (tmp_path / "calibration.csv").write_text(content)
        with pytest.raises(InputError, match=r"calibration\.csv: not a calibration table"):
            calibrate(settings(tmp_path), [BROKEN])
        assert (tmp_path / "calibration.csv").read_text() == content


def rows(method: str, sizes: list[int], **changes: object) -> pd.DataFrame:
    """A stored calibration of `method` in which everything passed, but for `changes`."""
    found = check(method)
    roles = [(noise, "met") for noise in found.noises.met] + [(noise, "stress") for noise in found.noises.stress]
    base: dict[str, object] = dict.fromkeys(COLUMNS, 0) | {"method": method, "estimate": 0.95, "passed": True}
    base |= {"code_sha256": calibrate_module.code_sha256(found)}
    return pd.DataFrame(
        [base | {"n": n, "noise": noise, "role": role} | changes for n in sizes for noise, role in roles]
    )


def test_a_size_between_calibrated_ones_needs_both_neighbours_to_pass() -> None:
    table = rows("tost", [5, 10, 20])
    status = calibration_status(table, "tost", 7)
    assert (status.status, status.sizes) == ("passed", (5, 10))
    table.loc[(table["n"] == 10) & (table["noise"] == "normal"), "passed"] = False
    assert calibration_status(table, "tost", 7).status == "failed"
    assert calibration_status(table, "tost", 7).failures == ("normal n=10 0.950",)
    assert calibration_status(table, "tost", 5).status == "passed"
    assert calibration_status(table, "tost", 100).sizes == (20,)


def test_failing_under_harsher_noise_is_told_but_does_not_hide_the_method() -> None:
    table = rows("tost", [5])
    table.loc[table["noise"] == "skewed_difference", "passed"] = False
    status = calibration_status(table, "tost", 5)
    assert (status.status, status.failures, len(status.stress_failures)) == ("passed", (), 1)


def test_rows_made_by_other_code_are_stale() -> None:
    assert calibration_status(rows("tost", [5], code_sha256="0" * 64), "tost", 5).status == "stale"


@pytest.mark.parametrize("n", [3, 5])
def test_what_was_not_calibrated_is_missing(n: int) -> None:
    table = rows("tost", [5])
    table = table if n == 3 else table[table["noise"] != "heavy_tailed"]
    assert calibration_status(table, "tost", n).status == "missing"
    assert calibration_status(table.iloc[:0], "tost", n).status == "missing"


def test_a_method_without_a_check_is_an_error() -> None:
    with pytest.raises(ValueError, match="no calibration check for 'guess'"):
        calibration_status(rows("tost", [5]), "guess", 5)


def test_a_change_of_the_code_changes_its_hash_and_line_ends_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate_module.statistics, "__file__", str(tmp_path / "__init__.py"))
    hashes = []
    for source in (b"x = 1\ny = 2\n", b"x = 1\r\ny = 2\r\n", b"x = 1\ny = 3\n"):
        (tmp_path / "estimate.py").write_bytes(source)
        hashes.append(calibrate_module.code_sha256(BROKEN))
    assert hashes[0] == hashes[1] != hashes[2]


def test_the_reference_table_is_complete_and_judged_by_the_rules() -> None:
    table = read_calibration(REFERENCE)
    assert set(table["method"]) == {check.method for check in CHECKS}
    for row in table.itertuples():
        assert row.passed == passes(row.rule, row.estimate, row.target, row.repetitions), row  # type: ignore[arg-type]
