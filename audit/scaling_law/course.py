"""The course of a search: its experiments in order, the compute they took, and which of them count as discoveries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audit.statistics.estimate import Floats

Flags = NDArray[np.bool_]
GALLERY, BASELINE, RECORD = "gallery", "baseline", "record"


@dataclass(frozen=True, kw_only=True)
class Noise:
    """SD of one run's outcome over seeds. degrees: of freedom behind it. seeds: runs behind the baseline's mean.

    origin: where the SD comes from, in words.
    """

    sd: float
    degrees: float
    seeds: int
    origin: str


@dataclass(frozen=True, kw_only=True)
class Process:
    """Discoveries under one definition.

    definition: its name. words: after "discoveries are experiments ...". times: [n], compute at which each was made,
    in (0, end], ascending.
    """

    definition: str
    words: str
    times: Floats


@dataclass(frozen=True, kw_only=True)
class Course:
    """A search as far as it went.

    name: in ids of findings. title: in headings. experiments: one row an experiment in order, failures included:
    number, compute (so far, this experiment included), value (outcome; NaN for a failure), and a bool column a
    definition; None where only binned counts are known. processes: the first is the one that headline findings are of.
    end: compute of the whole search. unit: of compute. measured: whether compute was measured. compute_words: what the
    axis is, a sentence. measure: what `value` is. larger_is_better, baseline: of `value`. noise: of `value`, where
    it is known. batches: counts [b] of the headline process in equal pieces of compute. published: whether it is the
    search that is audited. notes: what a reader should know, in sentences.
    """

    name: str
    title: str
    experiments: pd.DataFrame | None
    processes: tuple[Process, ...]
    end: float
    unit: str
    measured: bool
    compute_words: str
    measure: str
    larger_is_better: bool
    baseline: float
    noise: Noise | None
    batches: Floats
    published: bool
    notes: str

    @property
    def headline(self) -> Process:
        """The process that headline findings are of."""
        return self.processes[0]

    def values(self) -> Floats:
        """Outcomes [n] in order, NaN for failures; empty where experiments are not known."""
        if self.experiments is None:
            return np.empty(0)
        return np.asarray(self.experiments["value"], dtype=np.float64)


def better(values: Floats, than: Floats | float, *, larger_is_better: bool) -> Flags:
    """Whether each of values [n] is better; NaN never is."""
    return np.asarray(values > than if larger_is_better else values < than, dtype=np.bool_)


def process(experiments: pd.DataFrame, definition: str, words: str) -> Process:
    """The discoveries that the bool column `definition` marks."""
    times = experiments.loc[experiments[definition], "compute"].to_numpy(dtype=np.float64)
    return Process(definition=definition, words=words, times=times)


def batch_counts(times: Floats, end: float, batches: int) -> Floats:
    """Events [batches] in equal pieces of (0, end]; an event on a border belongs to the earlier piece."""
    edges = np.linspace(0.0, end, batches + 1)
    places = np.clip(np.searchsorted(edges, times, side="left") - 1, 0, batches - 1)
    return np.asarray(np.bincount(places, minlength=batches), dtype=np.float64)
