"""Calibration: every interval and test behind a verdict, simulated where the truth is known.

The checks themselves are listed in `statistics/simulation.py`; here they are run, judged, stored and looked up.

Rules: an interval covers its target within 3 Monte-Carlo standard errors plus 1 point; an interval
conservative by construction may cover more; an exact discrete one must cover the target; a test rejects at
most 1 - level plus 3 standard errors.
"""

from __future__ import annotations

import gc
import hashlib
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd
from tqdm import tqdm

from audit import statistics
from audit.statistics.check import Check, Design, Rule
from audit.statistics.noise import SAMPLERS, Sampler, measured
from audit.statistics.simulation import CHECKS
from replication.durable import write_atomic
from replication.provenance import ROOT
from replication.settings import InputError, require

CALIBRATION = ROOT / "results" / "reference" / "calibration.csv"
COLUMNS = [
    "method", "n", "noise", "role", "rule", "target", "estimate", "repetitions", "monte_carlo_se", "passed",
    "code_sha256", "seed",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CalibrateSettings:
    """conf/calibrate.yaml."""

    seed: int
    level: float
    sizes: tuple[int, ...]
    bootstrap_sizes: tuple[int, ...]
    repetitions: int
    resampling_repetitions: int
    resamples: int
    candidates: int
    baselines: int
    scales: int
    failure_rate: float
    seed_noise: str | None
    output: str
    reuse: bool


@dataclass(frozen=True, kw_only=True)
class CalibrationStatus:
    """What the stored calibration says of a method at a size.

    status: passed, failed (not to be shown at this size), stale (made by other code), missing. sizes: the
    calibrated sizes it rests on. failures, stress_failures: "noise n=.. estimate" of rows that failed,
    where the noise belongs to what the method meets, and where it is harsher than that.
    """

    status: Literal["passed", "failed", "stale", "missing"]
    sizes: tuple[int, ...]
    failures: tuple[str, ...]
    stress_failures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One row to be. seed: from everything that shapes the row but the code."""

    check: Check
    n: int
    noise: str
    role: str
    sampler: Sampler
    repetitions: int
    target: float
    code: str
    seed: int

    def identity(self) -> dict[str, object]:
        return {
            "method": self.check.method,
            "n": self.n,
            "noise": self.noise,
            "role": self.role,
            "rule": self.check.rule,
            "target": self.target,
            "repetitions": self.repetitions,
            "code_sha256": self.code,
            "seed": self.seed,
        }


def calibrate(settings: CalibrateSettings, checks: Sequence[Check] = CHECKS) -> pd.DataFrame:
    """Simulate the rows that `settings.output` does not hold already; write the table after each; return it.

    Rows depend neither on each other nor on their order, so an interrupted calibration goes on where it was.

    Raises:
        InputError: a setting is out of range, or the noise file or the stored table cannot be read.
    """
    path = Path(settings.output)
    cells = _cells(settings, checks)
    stored = read_calibration(path) if settings.reuse else pd.DataFrame(columns=COLUMNS)
    kept = {(row["method"], row["n"], row["noise"]): row for row in stored.to_dict("records")}
    rows: list[dict[str, object]] = []
    gc.freeze()  # statsmodels' multipletests collects garbage on every call, at more cost than the call
    try:
        with tqdm(total=sum(cell.repetitions for cell in cells), unit="rep", smoothing=0.05) as progress:
            for cell in cells:
                identity = cell.identity()
                row = kept.pop((cell.check.method, cell.n, cell.noise), {})
                if any(row.get(name) != value for name, value in identity.items()):
                    progress.set_description(f"{cell.check.method} n={cell.n} {cell.noise}")
                    rows.append(identity | _simulate(cell, _design(settings), progress))
                    _write([*rows, *kept.values()], path)
                else:
                    rows.append(row)
                    progress.update(cell.repetitions)
    finally:
        gc.unfreeze()
    _write(rows, path)
    return pd.DataFrame(rows, columns=COLUMNS)


def code_sha256(check: Check) -> str:
    """Hash of the source files the method rests on, line ends aside."""
    folder = Path(statistics.__file__).parent
    sources = [(folder / f"{module}.py").read_bytes().replace(b"\r\n", b"\n") for module in check.modules]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()


def passes(rule: Rule, estimate: float, target: float, repetitions: int) -> bool:
    """METHODS' passing rules; see the head of this file."""
    slack = 3.0 * monte_carlo_se(target, repetitions)
    if rule == "test":
        return estimate <= target + slack
    if rule == "exact":
        return estimate >= target
    enough = estimate >= target - slack - 0.01
    return enough and (rule == "conservative" or estimate <= target + slack + 0.01)


def monte_carlo_se(target: float, repetitions: int) -> float:
    """Standard error of a simulated rate whose true value is the target."""
    return math.sqrt(target * (1.0 - target) / repetitions)


def read_calibration(path: Path) -> pd.DataFrame:
    """The stored table; empty where there is none. InputError: it is not such a table."""
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    try:
        table = pd.read_csv(path, dtype={"code_sha256": str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a calibration table ({error})") from error
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise InputError(f"{path}: not a calibration table (column {missing[0]} is missing)")
    return table[COLUMNS].astype({"passed": bool})


def calibration_status(table: pd.DataFrame, method: str, n: int, checks: Sequence[Check] = CHECKS) -> CalibrationStatus:
    """Whether `method` holds at n: at the calibrated sizes next below and above, for every noise it meets.

    Above the largest calibrated size that one speaks; below the smallest none does. Measured noise counts
    where rows have it. Raises ValueError for a method without a check.
    """
    check = next((check for check in checks if check.method == method), None)
    if check is None:
        raise ValueError(f"no calibration check for {method!r}; known: {', '.join(c.method for c in checks)}")
    rows = table[table["method"] == method]
    calibrated = sorted({int(size) for size in rows["n"]})
    below, above = [size for size in calibrated if size <= n], [size for size in calibrated if size >= n]
    sizes = tuple(sorted({*below[-1:], *above[:1]})) if below else ()
    rows = rows[rows["n"].isin(sizes)]
    failed = rows[~rows["passed"].astype(bool)]
    described = [(row.role, f"{row.noise} n={row.n} {row.estimate:.3f}") for row in failed.itertuples()]
    failures = tuple(text for role, text in described if role == "met")
    present = set(zip(rows["n"], rows["noise"], strict=True))
    status: Literal["passed", "failed", "stale", "missing"] = "failed" if failures else "passed"
    if not sizes or any((size, noise) not in present for size in sizes for noise in check.noises.met):
        status = "missing"
    elif (rows["code_sha256"] != code_sha256(check)).any():
        status = "stale"
    stress = tuple(text for role, text in described if role == "stress")
    return CalibrationStatus(status=status, sizes=sizes, failures=failures, stress_failures=stress)


def calibration_row(key: tuple[str, int], status: CalibrationStatus) -> dict[str, Any]:
    """What the stored calibration says of a (method, n), as a row of the table of calibration."""
    return {
        "method": key[0],
        "n": key[1],
        "status": status.status,
        "calibrated_at_n": ", ".join(map(str, status.sizes)),
        "missed_its_target_on": "; ".join(status.failures),
        "missed_on_harsher_noise": "; ".join(status.stress_failures),
    }


def _cells(settings: CalibrateSettings, checks: Sequence[Check]) -> list[_Cell]:
    _check_ranges(settings)
    samplers, digest = dict(SAMPLERS), ""
    if settings.seed_noise is not None:
        samplers["measured"], digest = _measured_noise(Path(settings.seed_noise))
    cells = []
    for check in checks:
        code = code_sha256(check)  # now, not when the row is done: somebody may edit the source meanwhile
        first = check.bootstrap_from
        listed = settings.sizes if first is None else [n for n in settings.bootstrap_sizes if n >= first]
        sizes = sorted({*listed, *check.also})
        met = check.noises.met + (("measured",) if digest else ())
        roles = [(noise, "met") for noise in met] + [(noise, "stress") for noise in check.noises.stress]
        for n, (noise, role) in product(sizes, roles):
            resamples = first is not None or (check.resampling_from is not None and n >= check.resampling_from)
            shaping = (
                settings.seed,
                _design(settings),
                check.method,
                n,
                noise,
                digest * (noise == "measured"),
            )
            cell = _Cell(
                check=check,
                n=n,
                noise=noise,
                role=role,
                sampler=samplers[noise],
                repetitions=settings.resampling_repetitions if resamples else settings.repetitions,
                target=round(1.0 - settings.level, 12) if check.rule == "test" else settings.level,
                code=code,
                seed=zlib.crc32(repr(shaping).encode()),
            )
            cells.append(cell)
    return cells


def _check_ranges(settings: CalibrateSettings) -> None:
    require(0.0 < settings.level < 1.0, f"calibrate.level: must lie between 0 and 1, got {settings.level}")
    require(0.0 <= settings.failure_rate < 1.0, "calibrate.failure_rate: must be at least 0 and below 1")
    for name in ("repetitions", "resampling_repetitions", "resamples", "candidates", "baselines", "scales"):
        value = getattr(settings, name)
        require(value >= 1, f"calibrate.{name}: must be at least 1, got {value}")
    for name in ("sizes", "bootstrap_sizes"):
        require(min(getattr(settings, name), default=2) >= 2, f"calibrate.{name}: sizes must be at least 2")


def _measured_noise(path: Path) -> tuple[Sampler, str]:
    try:
        residuals = pd.read_csv(path)["residual"].to_numpy(dtype=np.float64)
        return measured(residuals), hashlib.sha256(path.read_bytes()).hexdigest()
    except KeyError as error:
        raise InputError(f"calibrate.seed_noise: {path} has no column {error}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"calibrate.seed_noise: {path}: {error}") from error


def _design(settings: CalibrateSettings) -> Design:
    return Design(
        level=settings.level,
        resamples=settings.resamples,
        candidates=settings.candidates,
        baselines=settings.baselines,
        scales=settings.scales,
        failure_rate=settings.failure_rate,
    )


def _simulate(cell: _Cell, design: Design, progress: tqdm[NoReturn]) -> dict[str, object]:
    rng, hits = np.random.default_rng(cell.seed), 0
    for _ in range(cell.repetitions):
        hits += cell.check.simulate(cell.sampler, cell.n, rng, design)
        progress.update()
    estimate = hits / cell.repetitions
    return {
        "estimate": estimate,
        "monte_carlo_se": round(monte_carlo_se(cell.target, cell.repetitions), 6),
        "passed": passes(cell.check.rule, estimate, cell.target, cell.repetitions),
    }


def _write(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False, lineterminator="\n").encode())
