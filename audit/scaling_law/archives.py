"""The archive of a loop as a course: losses, and compute where the archive has measured it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd

from audit.evidence import printable
from audit.finding import name_slug
from audit.scaling_law.course import BASELINE, RECORD, Course, Noise, batch_counts, better, process
from audit.sources.archive import read_archive
from audit.statistics.estimate import Floats
from audit.statistics.records import record_flags
from audit.wording import count
from replication.settings import InputError, require

COMPUTE = "compute"
MEASURED_WORDS = "Compute is measured: device seconds of training and benchmarks, failures included."
TOLD_WORDS = "Compute is what the archive's column compute says; its unit and what it counts are not checked."
OURS = ("reference", "discover")  # courses of this project's loop, whose compute is known to be device seconds
INDEX_WORDS = "The archive has no column compute, so compute is the number of the experiment, failures included."


def archive_course(path: Path, name: str, title: str, batches: int) -> Course:
    """An archive in the form of `audit.sources.archive`, one row an experiment in order.

    A column `compute` holds the compute spent so far. Values are honest losses where the archive has any, else
    ordinary losses; a leaky program has none. The first loss is where the search started.

    Raises:
        InputError: as `read_archive`; `compute` falls or is no number; no two experiments have a loss.
    """
    tables = read_archive(path)
    rows, leaky = tables.proposals, tables.certificates.query("outcome == 'violated'")["candidate"]
    honest = bool(rows["honest_loss"].notna().any())
    value = rows["honest_loss" if honest else "loss"].where(~rows["candidate"].isin(leaky)).to_numpy(dtype=np.float64)
    require(int(np.isfinite(value).sum()) > 1, f"{path}: no two experiments have a loss that counts")
    compute = _compute(path)
    measured, ours = compute is not None, name in OURS
    spent = np.arange(1.0, len(rows) + 1.0) if compute is None else compute
    experiments = pd.DataFrame({"number": np.arange(len(rows)), "compute": spent, "value": value})
    start = np.arange(len(rows)) == int(np.flatnonzero(np.isfinite(value))[0])
    baseline = rows["baseline_loss"].to_numpy(dtype=np.float64)
    experiments[BASELINE] = better(value, baseline, larger_is_better=False) & ~start
    experiments[RECORD] = record_flags(value, larger_is_better=False)
    below = process(experiments, BASELINE, "whose loss is below that of the baseline")
    kept, end = int(np.isfinite(value).sum()), float(spent[-1])
    return Course(
        name=name,
        title=title,
        experiments=experiments,
        processes=(below, process(experiments, RECORD, "whose loss is below every loss before")),
        end=end,
        unit=("device seconds" if ours else "units of compute") if measured else "experiments",
        measured=measured,
        compute_words=(MEASURED_WORDS if ours else TOLD_WORDS) if measured else INDEX_WORDS,
        measure=f"{'honest ' if honest else ''}loss (nats per token)",
        larger_is_better=False,
        baseline=float(np.nanmedian(baseline)) if np.isfinite(baseline).any() else math.nan,
        noise=_noise(path),
        batches=batch_counts(below.times, end, batches),
        published=False,
        notes=f"{count(len(rows))} experiments, {count(kept)} of them with a loss that counts.",
    )


def archive_name(path: Path) -> str:
    """How findings of a user's archive are called: after its file."""
    slug = name_slug(path.stem)
    return slug if slug not in ("asi_arch", "asi_arch_figure1", "reference", "discover") else f"archive_{slug}"


def _compute(path: Path) -> Floats | None:
    """Compute so far [n] from the archive's column, or None where it has none."""
    if path.suffix.lower() == ".jsonl":
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        texts = [json.loads(line).get(COMPUTE) for line in lines if line.strip()]
        if all(text is None for text in texts):
            return None
    else:
        table = pd.read_csv(path, dtype=str, encoding="utf-8-sig", keep_default_na=False)
        if COMPUTE not in table.columns:
            return None
        texts = list(table[COMPUTE])
    spent = np.array([_amount(text) for text in texts])
    before = 0.0
    for place, value in enumerate(spent):
        if not (math.isfinite(value) and value >= before and value > 0.0):
            raise InputError(f"{path}, row {place}, column {COMPUTE}: must be a number above 0 that does not fall")
        before = value
    return spent


def _amount(text: object) -> float:
    """A number of a cell, NaN for anything else."""
    try:
        return float(text) if isinstance(text, int | float | str) and not isinstance(text, bool) else math.nan
    except (ValueError, OverflowError):
        return math.nan


def _noise(path: Path) -> Noise | None:
    """Seed noise that the search's own report measured; None where there is no such report beside the archive."""
    report = path.parent.parent / "findings.json"
    try:
        document = json.loads(report.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{report}: cannot be read as the findings of a search: {printable(str(error))}") from error
    try:
        for finding in document["findings"]:
            details = finding["details"]
            if details.get("kind") == "best_gain" and details.get("noise"):
                noise, seeds = details["noise"], int(details["reference_seeds"])
                origin = f"seed SD of the search's baselines, {noise['degrees']} degrees of freedom"
                return Noise(sd=float(noise["sd"]), degrees=float(noise["degrees"]), seeds=seeds, origin=origin)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{report}: not the findings of a search, whose place this is") from error
    return None
