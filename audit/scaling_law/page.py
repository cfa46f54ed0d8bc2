"""The studies laid out for a reader: tables, figures and the words of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from audit.finding import Finding
from audit.scaling_law import figures
from audit.scaling_law.course import RECORD, Course
from audit.scaling_law.law_findings import LAW_WORDS, common, interval_words, rejected, start_words
from audit.scaling_law.laws import FORETOLD, Fits, exponent_row, law_table
from audit.scaling_law.plan import ScalingLawSettings
from audit.scaling_law.study import Study
from audit.section import Section
from audit.statistics.gains import record_probabilities
from audit.statistics.records import expected_records
from audit.wording import compact, number, plural

BAND_POINTS = 61
BAND_SEED = 20250719  # of the bands that are drawn; nothing is decided by them


def tables(studies: Sequence[Study], cfg: ScalingLawSettings) -> dict[str, pd.DataFrame]:
    """Every table by name."""
    fits = [(one.course, fit) for one in studies for fit in one.fits.values()]
    found = {
        "exponents": pd.DataFrame([exponent_row(course, fit) for course, fit in fits]),
        "laws": _stacked([law_table(course, fit) for course, fit in fits]),
        "starts": _stacked([_named(one.headline.starts, one.course) for one in studies if one.headline]),
        "predictions": _stacked([_predictions(one) for one in studies]),
        "r2": _stacked([_r2_quantiles(one) for one in studies]),
        "batches": _stacked([_named(_batches(one.course, cfg.level), one.course) for one in studies]),
        "certain": _stacked([one.certain for one in studies]),
        "course": _stacked([_named(one.course.experiments, one.course) for one in studies
                            if one.course.experiments is not None]),
    }  # fmt: skip
    return found | {f"quality_{one.course.name}": one.quality.table for one in studies if one.quality is not None}


def draw(studies: Sequence[Study], cfg: ScalingLawSettings) -> dict[str, Figure]:
    """Every figure that has something to draw, by name."""
    drawn = {}
    for one in studies:
        course, fits, head = one.course, one.first, one.headline
        if fits is not None and head is not None:
            curves = _curves(course, fits, cfg)
            drawn[f"cumulative_{course.name}"] = figures.cumulative(
                fits.process.times, course.end, curves, unit=_axis(course), level=cfg.level
            )
            counts = _batches(course, cfg.level)
            drawn[f"rate_{course.name}"] = figures.rate(
                counts, _rates(course, fits), unit=_axis(course), level=cfg.level
            )
            drawn[f"r2_{course.name}"] = figures.r2(head.r2, head.r2_null)
        if course.experiments is not None and one.records is not None:
            drawn[f"records_{course.name}"] = _record_figure(course, cfg)
        if one.quality is not None:
            drawn[f"quality_{course.name}"] = figures.quality(
                one.quality.table, unit=_axis(course), measure=course.measure, pool=cfg.pool, baseline=course.baseline
            )
    return drawn


def page(
    studies: Sequence[Study],
    findings: Sequence[Finding],
    sections: Sequence[Section],
    absent: Sequence[str],
    cfg: ScalingLawSettings,
) -> dict[str, Any]:
    """What the template needs beside findings, tables and figures. absent: sources that are not there, in words."""
    return {
        "verdict": verdict(studies, cfg),
        "summary": [summary(one, cfg) for one in studies],
        "absent": list(absent),
        "level_percent": f"{100 * cfg.level:g}%",
        "pool": cfg.pool,
        "alpha": 1.0 - cfg.level,
        "sources": [
            {
                "name": one.course.name,
                "title": one.course.title,
                "compute": one.course.compute_words,
                "notes": one.course.notes,
                "few": None
                if one.first
                else f"No law is fitted: fewer than {cfg.fit_from} discoveries, or all at the end.",
                "findings": [finding for finding in findings if finding.id.startswith(f"law.{one.course.name}.")],
            }
            for one in studies
        ],
        "sections": list(sections),
        "law_words": LAW_WORDS,
    }


def verdict(studies: Sequence[Study], cfg: ScalingLawSettings) -> str:
    """The answer in one paragraph, made of what was computed."""
    published = [one for one in studies if one.course.published and one.headline is not None]
    if any(one.course.published for one in studies) and not published:
        return "The published search has too few discoveries to fit a law, so none is judged."
    if not published:
        return "The published data are not here, so the published law is not judged; what follows is on archives alone."
    fits = [(_short(one.course), one.first) for one in published if one.first is not None]
    parts = [
        f"{number(fit.power.exponent.estimate, 2)} ({interval_words(fit.power.exponent.interval)}) on the {where}"
        for where, fit in fits
    ]
    refused = [where for where, fit in fits if rejected(fit, cfg)]
    described = (
        f"a power law is rejected on the {' and on the '.join(refused)}" if refused else "a power law is not rejected"
    )
    return (
        "One published run cannot establish a law of discovery, and this one does not. Fitted as a power of compute, "
        f"its discoveries have the exponent {' and '.join(parts)}; {described}. {_start(published[0])}"
        "The axis of compute was not released as a measurement, the authors chose afterwards what counts as a "
        "discovery, and there is no search without the method to compare with; a steady rate is what a search that "
        "learns nothing has too."
    )


def _start(study: Study) -> str:
    words = start_words(study.headline)
    return f"On the {_short(study.course)}: {words[0].lower()}{words[1:]}" if words else ""


def summary(study: Study, cfg: ScalingLawSettings) -> str:
    """One line a course: how many discoveries, the exponent, and what speaks against it."""
    course, fits = study.course, study.first
    if fits is None:
        return f"{course.title}: {plural(len(course.headline.times), 'event')}, no law fitted."
    exponent = fits.power.exponent
    text = (
        f"{course.title}: {plural(fits.n, 'event')} in {compact(course.end)} {course.unit}, exponent "
        f"{number(exponent.estimate, 2)} ({interval_words(exponent.interval)})"
    )
    if common(course):
        text += "; nearly every experiment counts, so this says little"
    if rejected(fits, cfg):
        text += "; the power law is rejected"
    if study.records is not None:
        test = study.records.test
        text += f"; {test.count} new bests, {number(test.expected, 1)} expected in random order"
    return f"{text}."


def _short(course: Course) -> str:
    return "released tree" if course.experiments is not None else "figure's hours"


def _axis(course: Course) -> str:
    return f"compute ({course.unit}{'' if course.measured else ', not measured'})"


def _stacked(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    kept = [frame for frame in frames if not frame.empty]
    return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame()


def _named(frame: pd.DataFrame, course: Course) -> pd.DataFrame:
    named = frame.copy()
    named.insert(0, "source", course.name)
    return named


def _batches(course: Course, level: float) -> pd.DataFrame:
    """start, stop, events and their exact Poisson interval (Garwood 1936), one row an equal piece of compute."""
    edges = np.linspace(0.0, course.end, len(course.batches) + 1)
    tail, counts = (1.0 - level) / 2.0, course.batches
    low = np.where(counts > 0, stats.gamma.ppf(tail, np.maximum(counts, 1)), 0.0)
    high = stats.gamma.ppf(1.0 - tail, counts + 1)
    return pd.DataFrame(
        {"start": edges[:-1], "stop": edges[1:], "events": counts.astype(int), "low": low, "high": high}
    )


def _curves(course: Course, fits: Fits, cfg: ScalingLawSettings) -> pd.DataFrame:
    """Each law's expected count and the band of runs simulated from it."""
    rng, at = np.random.default_rng(BAND_SEED), np.linspace(0.0, course.end, BAND_POINTS)
    tail, frames = (1.0 - cfg.level) / 2.0, []
    for name, law in fits.laws.items():
        drawn = np.array([np.searchsorted(law.simulate(rng), at, side="right") for _ in range(cfg.refits)])
        low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
        frames.append(
            pd.DataFrame({"law": name, "compute": at, "expected": law.cumulative(at), "low": low, "high": high})
        )
    return pd.concat(frames, ignore_index=True)


def _rates(course: Course, fits: Fits) -> pd.DataFrame:
    """Each law's expected events per piece, the pieces being those that are counted."""
    width = course.end / len(course.batches)
    at = np.linspace(width / 4, course.end, 4 * BAND_POINTS)
    frames = [
        pd.DataFrame({"law": name, "compute": at, "rate": width * law.rate(at)}) for name, law in fits.laws.items()
    ]
    return pd.concat(frames, ignore_index=True)


def _record_figure(course: Course, cfg: ScalingLawSettings) -> Figure:
    assert course.experiments is not None
    rows = course.experiments[np.isfinite(course.experiments["value"])]
    sizes = np.arange(1, len(rows) + 1)
    shown = np.unique(np.geomspace(1, len(rows), BAND_POINTS).round().astype(int))
    tail = (1.0 - cfg.level) / 2.0
    chances = [np.cumsum(record_probabilities(int(size))) for size in shown]
    low, high = ([int(np.searchsorted(chance, q)) for chance in chances] for q in (tail, 1.0 - tail))
    means = [expected_records(int(size))[0] for size in shown]
    expected = pd.DataFrame({"outcomes": shown, "mean": means, "low": low, "high": high})
    flags = rows[RECORD].to_numpy(dtype=np.float64)
    return figures.records(flags, sizes.astype(np.float64), expected, level=cfg.level)


def _predictions(study: Study) -> pd.DataFrame:
    head = study.headline
    if head is None:
        return pd.DataFrame()
    asked: list[tuple[str, Mapping[str, Any], int | None]] = [("next", head.next_counts, None)]
    if head.held_out is not None:
        asked.append(("last part from the first", *head.held_out))
    rows = [
        {"source": study.course.name, "of": what, "compute": head.ahead, "law": law, "foretold": found[law].estimate,
         "low": found[law].interval[0], "high": found[law].interval[1], "observed": observed}
        for what, found, observed in asked for law in FORETOLD if law in found
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _r2_quantiles(study: Study) -> pd.DataFrame:
    head = study.headline
    if head is None:
        return pd.DataFrame()
    shares = (0.025, 0.25, 0.5, 0.75, 0.975)
    rows = []
    for law, drawn in head.r2_null.items():
        row = {"source": study.course.name, "law": law, "observed": head.r2}
        row |= {"at_least_as_high": float((drawn >= head.r2).mean())}
        rows.append(row | {f"quantile_{100 * q:g}": float(np.quantile(drawn, q)) for q in shares})
    return pd.DataFrame(rows)
