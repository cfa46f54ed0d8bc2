"""Two labellings of the same programs compared: any number of categories a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from audit.origins.plan import OriginSettings
from audit.statistics.estimate import Floats
from audit.statistics.labelling import cohen_kappa, label_agreement, label_overlap
from replication.settings import InputError, require

HAND = Path(__file__).with_name("labels") / "hand.yaml"
READERS = ("reader_1", "reader_2")
Labels = Mapping[int, Sequence[str]]  # program -> its categories


@dataclass(frozen=True, kw_only=True)
class HandLabels:
    """What two readers gave each program of a sample; see labels/hand.yaml for how."""

    seed: int
    readers: Mapping[str, Labels]

    @property
    def programs(self) -> tuple[int, ...]:
        """The sample."""
        return tuple(self.readers[READERS[0]])


def read_hand(categories: Sequence[str], path: Path = HAND) -> HandLabels:
    """The hand labels. Raises InputError where a program lacks a reader or a label is no category."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = {int(program): entry for program, entry in sorted(document["labels"].items())}
        readers = {name: {program: tuple(entry[name]) for program, entry in entries.items()} for name in READERS}
        seed = int(document["seed"])
    except (OSError, yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: no hand labels ({error})") from error
    for name, labels in readers.items():
        for program, given in labels.items():
            for label in given:
                require(label in categories, f"{path}, {program}, {name}: {label!r} is no category")
    return HandLabels(seed=seed, readers=readers)


def presence(labels: Labels, programs: Sequence[int], categories: Sequence[str]) -> Floats:
    """[programs, categories], 1 where the program has the category."""
    rows = [[float(category in labels[program]) for category in categories] for program in programs]
    return np.array(rows, dtype=np.float64).reshape(len(programs), len(categories))


def compared(
    pairs: Mapping[str, tuple[Labels, Labels]],
    categories: Sequence[str],
    cfg: OriginSettings,
    rng: np.random.Generator,
) -> pd.DataFrame:
    """One row a pair of labellings (said, truth), over the programs that both have.

    Columns: comparison, programs, said, true (labels a program), precision, recall and jaccard (see `label_overlap`),
    each with _low and _high; kappa over all programs and categories, without an interval, as the labels of one program
    go together. A comparison without a program in common is left out.
    """
    rows = []
    for name, (said, truth) in pairs.items():
        programs = [program for program in truth if program in said]
        if not programs:
            continue
        given, true = (presence(labels, programs, categories) for labels in (said, truth))
        overlap = label_overlap(true, given, cfg.level, rng, cfg.resamples)
        row: dict[str, object] = {"comparison": name, "programs": len(programs)}
        row |= {"said": given.sum() / len(programs), "true": true.sum() / len(programs)}
        for measure, found in overlap.items():
            row |= {measure: found.estimate, f"{measure}_low": found.interval[0], f"{measure}_high": found.interval[1]}
        rows.append(row | {"kappa": _kappa(given, true, cfg.level)})
    return pd.DataFrame(rows)


def by_category(said: Labels, truth: Labels, categories: Sequence[str]) -> pd.DataFrame:
    """`label_agreement` over the programs of `truth`: first is said, second true; what neither gives is left out."""
    programs = list(truth)
    given, true = (presence(labels, programs, categories) for labels in (said, truth))
    table = label_agreement(given, true, categories).rename(columns={"first": "said", "second": "true"})
    return table[(table["said"] > 0) | (table["true"] > 0)].reset_index(drop=True)


def _kappa(first: Floats, second: Floats, level: float) -> float:
    """Cohen's kappa of all cells, taken as one labelling with yes or no."""
    yes, other = (np.where(labels.ravel() > 0, "yes", "no").tolist() for labels in (first, second))
    return cohen_kappa(yes, other, level).estimate
