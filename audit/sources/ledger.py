"""Evidence from our own ledger: the runs of a plan, and what the search said of their candidates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd

from audit.evidence import EXPERIMENT_COLUMNS, Evidence, printable
from audit.sources.certificates import certificate_rows
from replication.certificate import Certificate
from replication.containment import describe
from replication.ledger import Ledger
from replication.plan import Plan
from replication.record import RunRecord
from replication.settings import InputError

CURVE_POINTS = 120  # a figure needs no more


def read_evidence(plan: Plan, ledger: Ledger, certificates: Mapping[str, Certificate]) -> tuple[Evidence, pd.DataFrame]:
    """The evidence of a plan, with the certificates of its arms by candidate id, and its training curves.

    Returns:
        The evidence, and the curves: candidate, scale, seed, step, loss (mean training loss of the steps since the
        point before, nats per token), at most CURVE_POINTS a run, ok runs only.

    Raises:
        InputError: the ledger lacks runs of the plan; says how many.
    """
    records = {planned.run_id: ledger.find(planned.run_id) for planned in plan.runs}
    missing = sum(record is None for record in records.values())
    if missing:
        raise InputError(
            f"{missing} of {len(plan.runs)} runs are not in {ledger.root}; measure them with python -m replication"
        )
    found = [record for record in records.values() if record is not None]
    runs = pd.DataFrame([_run_row(plan, record) for record in found])
    curves = [_curve_rows(record, ledger.curve(record.run_id)) for record in found if record.status == "ok"]
    empty = pd.DataFrame(columns=["candidate", "scale", "seed", "step", "loss"])
    evidence = Evidence(runs, _experiments(plan), certificate_rows(certificates))
    return evidence, pd.concat(curves, ignore_index=True) if curves else empty


def confinement(plan: Plan, ledger: Ledger) -> dict[str, int]:
    """How the programs of a plan's runs were confined, in words -> number of runs, the most frequent first."""
    records = (ledger.find(planned.run_id) for planned in plan.runs)
    return dict(Counter(describe(record.confinement) for record in records if record is not None).most_common())


def _run_row(plan: Plan, record: RunRecord) -> dict[str, object]:
    order, arm = next((i, arm) for i, arm in enumerate(plan.arms) if arm.id == record.spec.candidate)
    return {
        "run_id": record.run_id,
        "candidate": arm.id,
        "name": printable(arm.name),
        "label": printable(arm.label),
        "role": arm.role,
        "scale": record.spec.scale.name,
        "seed": record.spec.seed,
        "status": record.status,
        "val_loss": _or_nan(record.val_loss),
        "honest_loss": _or_nan(record.honest_loss),
        "leak_gain": _or_nan(record.leak_gain),
        "leak_gain_se": _or_nan(record.leak_gain_se),
        "looks_ahead": record.looks_ahead is True,
        "bits_per_byte": _or_nan(record.bits_per_byte),
        "parameters": _or_nan(record.parameters),
        "flops": _or_nan(record.flops),
        "tokens": record.steps_done * record.spec.scale.batch_size * record.spec.scale.sequence_length,
        "tokens_per_second": _or_nan(record.tokens_per_second),
        "wall_seconds": record.wall_seconds,
        "peak_memory_bytes": _or_nan(record.peak_memory_bytes),
        "lifted": ", ".join(part for part, told in record.lifted.items() if told == "lifted"),
        "error": None if record.error is None else printable(record.error),
        "order": order,
    }


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _experiments(plan: Plan) -> pd.DataFrame:
    rows = [
        {
            "candidate": arm.id,
            "name": printable(arm.name),
            "search_loss": arm.search.loss,
            "baseline": baseline,
            "search_baseline_loss": loss,
            "unit": arm.search.unit,
            "where": printable(arm.search.where),
        }
        for arm in plan.arms
        if arm.search is not None
        for baseline, loss in arm.search.baseline_losses.items()
    ]
    return pd.DataFrame(rows, columns=list(EXPERIMENT_COLUMNS))


def _curve_rows(record: RunRecord, curve: np.ndarray) -> pd.DataFrame:
    pieces = np.array_split(np.arange(len(curve)), min(CURVE_POINTS, len(curve)))
    return pd.DataFrame(
        {
            "candidate": record.spec.candidate,
            "scale": record.spec.scale.name,
            "seed": record.spec.seed,
            "step": [int(piece[-1]) + 1 for piece in pieces],
            "loss": [float(curve[piece].mean(dtype=np.float64)) for piece in pieces],
        }
    )
