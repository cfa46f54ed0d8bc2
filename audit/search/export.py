"""A search as tables for others: what `audit_threshold archive=` and a spreadsheet read.

    experiments.csv  one row an experiment, failures included
    attempts.csv     every version that was proposed or repaired, and what became of it
    components.csv   what an experiment is made of, and where that came from
    programs.jsonl   source, motivation and analysis

Equal searches give equal bytes but for TIME_COLUMNS. Cells keep only printable characters.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict

from audit.search.evidence import standing
from loop.records import Experiment
from replication.record import canonical_json

TIME_COLUMNS = ("compute",)  # device seconds up to and with this experiment
KNOWN = {"leaky": True, "clean": False}  # whether outputs depend on what they must not see; else nobody knows
GROUPS = {"fitness": "fitness", "rules": "rule", "marks": "mark", "benchmarks": "accuracy"}  # field -> columns' prefix
FORMULA = re.compile(r"[=@]|[+\-](?![\d.])")  # how a cell begins that a spreadsheet would run


def export(
    done: Sequence[Experiment],
    *,
    baseline: Mapping[str, float | None],
    tasks: Collection[str],
    discoveries: Collection[int],
) -> dict[str, str]:
    """The texts of the tables of the experiments `done`, in order, by file name.

    Args:
        baseline: baseline_loss, nats per token, and baseline_benchmark, mean accuracy over `tasks`; None where unknown.
        tasks: the benchmarks that count.
        discoveries: numbers of the experiments that are called one.
    """
    components = ({"experiment": one.number, **asdict(item)} for one in done for item in one.components)
    shown = ("number", "name", "source", "motivation", "analysis")
    programs = [canonical_json({name: getattr(one, name) for name in shown}) for one in done]
    return {
        "experiments.csv": _csv(_experiment_rows(done, baseline, tasks, discoveries)),
        "attempts.csv": _csv(_attempt_rows(done)),
        "components.csv": _csv(components),
        "programs.jsonl": "".join(f"{line}\n" for line in programs),
    }


def _experiment_rows(
    done: Sequence[Experiment],
    baseline: Mapping[str, float | None],
    tasks: Collection[str],
    discoveries: Collection[int],
) -> Iterator[dict[str, object]]:
    keys = [(group, key) for group in GROUPS for key in sorted({key for one in done for key in getattr(one, group)})]
    compute = 0.0
    for order, one in enumerate(done):
        compute += one.device_seconds
        ok = one.status == "ok"
        accuracies = [one.benchmarks[task] for task in tasks if ok and task in one.benchmarks]
        row: dict[str, object] = {"id": str(one.number), "name": one.name, "order": order, "parent": one.parent}
        # Readers know no status "rejected": no loss was measured, and the last attempt's verdict says why.
        row |= {"status": "missing" if one.status == "rejected" else one.status, "reason": one.reason}
        row |= {"verdict": one.attempts[-1].verdict if one.attempts else None, "compute": compute}
        row |= {
            "loss": one.loss if ok else None,
            "honest_loss": one.honest_loss if ok else None,
            "leaky": KNOWN.get(standing(one)),
        }
        row |= {"benchmark": sum(accuracies) / len(tasks) if 0 < len(tasks) == len(accuracies) else None, **baseline}
        row |= {"mark": one.mark, "discovery": one.number in discoveries, "attempts": len(one.attempts)}
        row |= {name: getattr(one, name) for name in ("parameters", "flops", "seed")}
        yield row | {f"{GROUPS[group]}_{key}": getattr(one, group).get(key) for group, key in keys}


def _attempt_rows(done: Sequence[Experiment]) -> Iterator[dict[str, object]]:
    for one in done:
        for place, attempt in enumerate(one.attempts):
            shown = {name: getattr(attempt, name) for name in ("stage", "name", "verdict", "reason")}
            mistakes = " ".join(mistake["kind"] for mistake in attempt.truth.get("mistakes", ()))
            yield {"experiment": one.number, "attempt": place, **shown, "mistakes": mistakes}


def _csv(rows: Iterable[Mapping[str, object]]) -> str:
    table, buffer = list(rows), io.StringIO()
    writer = csv.DictWriter(buffer, list(table[0]) if table else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in table)
    return buffer.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    text = "".join(letter if letter.isprintable() else "\ufffd" for letter in value)
    return f"'{text}" if FORMULA.match(text) else text
