"""Claims on the fitness: its terms and its window."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from scipy.special import expit, logit

from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.reading import EXACT, located, numbers, unreadable, verdict
from audit.consistency.inconsistency import Inconsistency
from audit.sheets import Sheet
from audit.statistics.estimate import Floats
from audit.wording import count, number, plural
from loop.fitness import FitnessSettings, gain_term

SLACK = 1e-9


def nodes_that_can_beat(scores: Floats, fitness: FitnessSettings) -> tuple[int, int]:
    """Fewest and most nodes that can beat the baseline in both loss and benchmark, from their scores [n].

    Beating it in both gives more than one half twice, so a score above 1. Failing in either leaves at most one half,
    the full judge and the other term at its cap, so a score above that sum proves both.
    """
    cap = float(gain_term(1.0, fitness))
    return int((scores > 1.5 + cap).sum()), int((scores > 1.0).sum())


@dataclass(frozen=True, kw_only=True)
class MeanParameters:
    """total, terms: columns of figure 6. score: column of the tree's released scores."""

    total: str
    terms: tuple[str, ...]
    score: str


def mean_of_terms(evidence: ClaimEvidence, p: MeanParameters, _decision: Decision) -> Outcome:
    """Whether the figure's total is the mean of its terms, and which of mean or sum the released scores can be."""
    figure, tree = evidence.sheets["figure6"], evidence.sheets["tree"]
    points = numbers(figure, [p.total, *p.terms])
    scores = tree.numbers(p.score).dropna()
    if points.empty or scores.empty:
        return unreadable(figure if points.empty else tree, "the total, its terms and the scores")
    halves = pd.DataFrame({name: figure.printed(name).map(_half) for name in points.columns}).loc[points.index]
    slack = halves[p.total] + halves[list(p.terms)].mean(axis=1) + SLACK
    gap = points[p.total] - points[list(p.terms)].mean(axis=1)
    fits = gap.abs() <= slack
    released = "a sum, not a mean" if scores.max() > 1.0 else "a mean"
    if scores.max() > len(p.terms) or scores.min() < 0.0:
        released = "neither a mean nor a sum"
    return Outcome(
        answer=(
            f"In the figure, the total is the mean of the {len(p.terms)} terms within rounding at {int(fits.sum())} of "
            f"{plural(len(points), 'point')}. The {count(len(scores))} released scores run from {number(scores.min())} "
            f"to {number(scores.max())}, so they are {released}; a sum ranks as the mean does."
        ),
        verdict=verdict(supported=bool(fits.all()) and scores.max() <= 1.0, contradicted=not fits.all()),
        method=EXACT,
        estimate=float(gap.abs().max()),
        unit="fitness",
        n=len(points),
        rows=located(figure, points.assign(gap=gap, fits=fits)),
        inconsistencies=_not_a_mean(tree, p, scores) if scores.max() > 1.0 else (),
        details={"lowest_score": float(scores.min()), "highest_score": float(scores.max()), "scores": released},
    )


def _half(cell: object) -> float:
    return getattr(cell, "half", 0.0)


def _not_a_mean(sheet: Sheet, p: MeanParameters, scores: pd.Series[float]) -> tuple[Inconsistency, ...]:
    above = int((scores > 1.0).sum())
    one = Inconsistency(
        kind="formula",
        file=sheet.file,
        row=None,
        column=p.score,
        printed=f"mean of {len(p.terms)} terms from 0 to 1",
        recomputed=f"{above} of {len(scores)} scores above 1, the highest {scores.max():.4f}",
        note="the stated formula is a mean, which cannot exceed 1; the released scores can be a sum",
    )
    return (one,)


@dataclass(frozen=True, kw_only=True)
class ShapeParameters:
    """small, large: gains to look at, shares of the window. items: answers behind a mean. fitness: as released."""

    small: float
    large: float
    items: int
    fitness: FitnessSettings


def sigmoid_shape(_evidence: ClaimEvidence, p: ShapeParameters, _decision: Decision) -> Outcome:
    """How much a small and a large gain count beside a straight line over the window, and what noise counts."""
    window, half = p.fitness.window, 0.5
    small = float(gain_term(p.small * window, p.fitness)) - half
    large = float(gain_term(p.large * window, p.fitness)) - half
    line = [share * half for share in (p.small, p.large)]
    base = p.fitness.baseline_benchmark
    noise = (base * (1.0 - base) / p.items) ** 0.5
    counted = float(gain_term(noise / base, p.fitness)) - half
    magnified, capped = small > line[0], large - small < line[1] - line[0]
    return Outcome(
        answer=(
            f"By the released arithmetic a gain of {100 * p.small:g}% of the window moves its term by {number(small)} "
            f"(a straight line: {number(line[0])}), and one of {100 * p.large:g}% by {number(large)} "
            f"({number(line[1])}): small gains count for more and further gain for less. Noise is magnified alike: one "
            f"standard error of a benchmark mean over {count(p.items)} answers ({number(100 * noise, 2)} points) moves "
            f"its term by {number(counted)}."
        ),
        verdict=verdict(supported=magnified and capped, contradicted=not (magnified and capped)),
        method=(
            "Released fitness arithmetic against a straight line over the window. Noise: binomial error of the answers "
            "alone; training noise would add to it."
        ),
        estimate=small / line[0],
        unit="times a straight line",
        details={"noise": noise, "noise_counts": counted},
    )


@dataclass(frozen=True, kw_only=True)
class WindowParameters:
    """loss, loss_term, benchmark, benchmark_term: columns of figure 6. from_gain: points with a gain of this share or
    more of the baseline are used. fitness: of the released code, without its window."""

    loss: str
    loss_term: str
    benchmark: str
    benchmark_term: str
    from_gain: float
    fitness: FitnessSettings


def fitness_window(evidence: ClaimEvidence, p: WindowParameters, _decision: Decision) -> Outcome:
    """The window that the figure's raw curves and terms imply.

    The term is concave in a gain, so that the mean of terms is at most the term of the mean gain (Jensen), and the
    window that makes them equal is an upper bound, which can contradict a stated window and not support it.
    """
    sheet = evidence.sheets["figure6"]
    f = p.fitness
    pairs = {"loss": (p.loss, p.loss_term), "benchmark": (p.benchmark, p.benchmark_term)}
    points = numbers(sheet, [p.loss, p.loss_term, p.benchmark, p.benchmark_term])
    gains = {
        "loss": 1.0 - points[p.loss] / f.baseline_loss,
        "benchmark": points[p.benchmark] / f.baseline_benchmark - 1,
    }
    base = {"loss": f.baseline_loss, "benchmark": f.baseline_benchmark}
    cap = float(expit(f.steepness))
    bounds = {}
    for name, (raw, term) in pairs.items():
        half, term_half = (sheet.printed(column).loc[points.index].map(_half).astype(float) for column in (raw, term))
        used = (gains[name] >= p.from_gain) & (points[term] - term_half > 0.5) & (points[term] < cap)
        # The ends of both roundings that give the widest window: the bound holds whatever was rounded.
        bounds[name] = f.steepness * (gains[name] + half / base[name])[used] / logit((points[term] - term_half)[used])
    if any(len(values) == 0 for values in bounds.values()):
        return unreadable(sheet, f"points with a gain of {100 * p.from_gain:g}% in both curves")
    least = min(float(values.min()) for values in bounds.values())
    return Outcome(
        answer=(
            f"The window is at most {100 * least:.2f}% of the baseline by the figure's curves (loss: "
            f"{100 * bounds['loss'].min():.2f}%, benchmark: {100 * bounds['benchmark'].min():.2f}% at their tightest "
            f"points); stated are {100 * f.window:g}%. A bound, since the curves are means over models: it says "
            "nothing on how a single run beyond the window was scored."
        ),
        verdict=verdict(
            supported=False,  # an upper bound: a narrower window would pass too
            contradicted=least < f.window * (1.0 - 1e-3),
        ),
        method="Released fitness arithmetic solved for the window; Jensen's inequality for gains above the baseline.",
        estimate=least,
        unit="share of the baseline",
        n=sum(len(values) for values in bounds.values()),
        rows=located(sheet, points.assign(**{f"window_{name}": values for name, values in bounds.items()})),
        details={f"tightest_{name}": float(values.min()) for name, values in bounds.items()},
    )


FITNESS_CHECKS = {
    "mean_of_terms": ClaimCheck(MeanParameters, mean_of_terms),
    "sigmoid_shape": ClaimCheck(ShapeParameters, sigmoid_shape),
    "fitness_window": ClaimCheck(WindowParameters, fitness_window),
}
