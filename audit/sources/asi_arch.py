"""Evidence from the published tables and programs of ASI-Arch (arXiv 2507.18074)."""

from __future__ import annotations

import math

import pandas as pd

from audit.evidence import printable
from audit.threshold.evidence import MISSING, PROPOSAL_COLUMNS
from replication.published import PublishedSettings, Row, finite_number, load_search_table
from replication.published import load_gallery as programs

__all__ = ["SOURCE", "programs", "proposals"]

SOURCE = "asi_arch"


def proposals(settings: PublishedSettings) -> pd.DataFrame:
    """One row a program, published scale and published baseline (`PROPOSAL_COLUMNS`); empty without the table.

    candidate: the program's index as text; a program whose name fits no row of the table, or shares it with other
    programs, is kept without a loss. Rows of the table that fit no one program are kept too, as `row <name>`, since
    they are published losses all the same. scale: `<scale> against <baseline>`. The losses are final training losses,
    the benchmark is the mean of the table. There is no seed and no honest loss.

    Raises:
        InputError: a file is missing or not what it should be; names the file and row or the setting.
    """
    gallery, table = programs(settings), load_search_table(settings)
    entries: list[tuple[str, str, Row | None]] = [
        (str(index), program.name, table.programs.get(index)) for index, program in gallery.items()
    ]
    entries += [(f"row {name}", name, row) for name, row in table.others.items()]
    rows = []
    for scale, columns in settings.search.scales.items():
        for baseline, reference in table.baselines.items():
            for candidate, name, row in entries:
                loss = _cell(row, columns.loss)
                rows.append(
                    {
                        "source": SOURCE,
                        "scale": f"{scale} against {baseline}",
                        "candidate": printable(candidate),
                        "name": printable(name),
                        "family": "",
                        "strength": math.nan,
                        "seed": -1,
                        "status": MISSING if math.isnan(loss) else "ok",
                        "loss": loss,
                        "honest_loss": math.nan,
                        "leak_gain": math.nan,
                        "leak_gain_se": math.nan,
                        "baseline_loss": _cell(reference, columns.loss),
                        "benchmark": _cell(row, columns.benchmark),
                        "baseline_benchmark": _cell(reference, columns.benchmark),
                    }
                )
    return pd.DataFrame(rows, columns=list(PROPOSAL_COLUMNS))


def _cell(row: Row | None, column: str) -> float:
    value = None if row is None else finite_number(row[column])
    return math.nan if value is None else value
