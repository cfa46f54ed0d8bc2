"""The published search as courses: the released tree with its gallery, and the counts of figure 1."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from audit.claims.reading import numbers
from audit.claims.tree import read_tree
from audit.scaling_law.course import BASELINE, GALLERY, RECORD, Course, Process, batch_counts, better, process
from audit.sheets import Sheet, SheetTable
from audit.statistics.records import record_flags
from audit.wording import count
from replication.settings import require

SOURCE, FIGURE = "asi_arch", "asi_arch_figure1"
TIME, EVENTS = "hours", "cum_sota"  # columns of figure 1
INDEX_WORDS = (
    "No run times were released, so compute is the number of the experiment: every experiment counts alike, and what "
    "it cost is not known."
)
HOURS_WORDS = (
    "Compute is the hours on the figure's axis. They were not released as measurements, and whether they are more than "
    "a count of experiments is claim c05 of the claims audit."
)


def tree_course(sheets: SheetTable, batches: int) -> Course:
    """The released nodes by their numbers; discoveries are the gallery, scores above the root's, and records.

    The first node is the root, the start of the search and no discovery. Numbers that no released node has count as
    experiments that brought nothing.
    """
    tree = read_tree(sheets["tree"])
    require(len(tree.identifier) > 1, f"{sheets['tree'].file}: there are no two nodes with a number and a score")
    gallery = np.unique(sheets["gallery"].numbers("index").dropna().to_numpy(dtype=np.int64))
    numbered = np.arange(1, max(int(tree.identifier[-1]), *gallery.tolist(), 1) + 1)
    value = pd.Series(tree.score, index=tree.identifier).reindex(numbered).to_numpy(dtype=np.float64)
    start = int(tree.identifier[0])
    experiments = pd.DataFrame({"number": numbered, "compute": numbered.astype(np.float64), "value": value})
    experiments[GALLERY] = np.isin(numbered, gallery)
    experiments[BASELINE] = better(value, float(tree.score[0]), larger_is_better=True) & (numbered != start)
    experiments[RECORD] = record_flags(value, larger_is_better=True)
    end, missing = float(numbered[-1]), int(np.isnan(value).sum())
    events = process(experiments, GALLERY, f"among the {len(gallery)} that the authors published as discoveries")
    return Course(
        name=SOURCE,
        title="ASI-Arch, released tree",
        experiments=experiments,
        processes=(
            events,
            process(experiments, BASELINE, "whose score is above that of the root"),
            process(experiments, RECORD, "whose score is above every score before"),
        ),
        end=end,
        unit="experiments",
        measured=False,
        compute_words=INDEX_WORDS,
        measure="score (sum of three terms)",
        larger_is_better=True,
        baseline=float(tree.score[0]),
        noise=None,
        batches=batch_counts(events.times, end, batches),
        published=True,
        notes=(
            f"{count(len(tree.identifier))} released nodes; {count(missing)} numbers below {count(end)} have no node "
            "and count as experiments without a result. Who is in the gallery was decided by the authors."
        ),
    )


def figure_course(sheet: Sheet) -> Course:
    """Figure 1's cumulative counts. Events between two points are spread evenly between them.

    Raises:
        InputError: the counts fall, or the points are not equally spaced.
    """
    points = numbers(sheet, [TIME, EVENTS])
    times, counts = (points[name].to_numpy(dtype=np.float64) for name in (TIME, EVENTS))
    good = len(points) > 4 and bool((np.diff(counts) >= 0).all() and (counts % 1 == 0).all()) and counts[-1] > 0
    require(good, f"{sheet.file}: expected cumulative counts at five points or more in {TIME} and {EVENTS}")
    step = np.diff(times)
    require(math.isclose(step.min(), step.max()) and step[0] > 0, f"{sheet.file}: {TIME} is not equally spaced")
    binned = np.diff(counts, prepend=0.0 if times[0] > 0 else counts[0])
    binned = binned if times[0] > 0 else binned[1:]
    edges = times if times[0] == 0 else np.concatenate([[times[0] - step[0]], times])
    events = np.concatenate(
        [low + step[0] * (np.arange(int(n)) + 0.5) / n for low, n in zip(edges[:-1], binned, strict=True) if n]
    )
    return Course(
        name=FIGURE,
        title="ASI-Arch, figure 1",
        experiments=None,
        processes=(Process(definition=GALLERY, words="that the figure counts", times=events - edges[0]),),
        end=float(edges[-1] - edges[0]),
        unit="hours on the figure's axis",
        measured=False,
        compute_words=HOURS_WORDS,
        measure="",
        larger_is_better=True,
        baseline=math.nan,
        noise=None,
        batches=binned,
        published=True,
        notes=(
            f"{len(points)} points read off the figure, {len(binned)} pieces of {step[0]:g} hours. Within a piece the "
            "events are spread evenly, as single times are not known; that makes p-values of fit a little too large."
        ),
    )
