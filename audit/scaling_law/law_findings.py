"""Findings on the law of a course's discoveries. All are `measured`: one run of one search establishes no law."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from audit.finding import Finding, Interval
from audit.scaling_law.course import GALLERY, Course
from audit.scaling_law.laws import Fits, Headline, law_table
from audit.scaling_law.plan import ScalingLawSettings
from audit.scaling_law.study import Study
from audit.statistics.estimate import Estimate
from audit.wording import compact, number, p_equals, plural

LAW_WORDS = {
    "constant": "constant rate",
    "power": "power law",
    "change_point": "change point",
    "goel_okumoto": "Goel-Okumoto saturation",
    "logistic": "logistic saturation",
}
ONE_RUN = "It is one run, so it does not say what another search would do."
NO_LEARNING = (
    "An exponent near 1 is a constant rate per unit of compute, which a search that learns nothing has as well."
)
SELECTED = (
    "What counts as a discovery was decided by the authors, after the search and by their own threshold, and there "
    "is no search without the method to compare with."
)
SATURATED = (
    "Nearly every experiment counts, so these counts are little more than experiments against compute, and vary less "
    "than the intervals, which are made for rare events, allow for."
)
COMMON = 0.5  # share of experiments from which discoveries are no rare events


def law_findings(study: Study, cfg: ScalingLawSettings) -> list[Finding]:
    """Exponent, best law, R^2 of the line, dispersion, prediction and phases; none where there are too few events."""
    fits, head = study.first, study.headline
    if fits is None or head is None:
        return []
    return [
        _exponent(study, fits, head, cfg),
        _best_model(study, fits, cfg),
        _line_r2(study, fits, head, cfg),
        _dispersion(study, head, cfg),
        _prediction(study, fits, head, cfg),
        _phases(study, fits, head, cfg),
    ]


def interval_words(interval: Interval, digits: int = 2) -> str:
    """`0.98 to 1.34`, or that there is none."""
    if not all(map(math.isfinite, interval)):
        return "no interval: it missed its target in calibration or the data allow none"
    return f"{number(interval[0], digits)} to {number(interval[1], digits)}"


def limits(study: Study) -> str:
    """What no finding on this course shows."""
    course = study.course
    parts = [course.compute_words, ONE_RUN]
    parts += [SELECTED] if course.headline.definition == GALLERY else []
    parts += [SATURATED] if common(course) else []
    return " ".join(parts)


def brief_limits(study: Study) -> str:
    """The same in a line, for findings that stand beside the one that says all of it."""
    course = study.course
    axis = "compute measured" if course.measured else "compute not measured"
    return f"One run; {axis}" + ("; nearly every experiment counts." if common(course) else ".")


def common(course: Course) -> bool:
    """Whether discoveries of the headline kind are too common to be events in time."""
    return course.experiments is not None and len(course.headline.times) > COMMON * len(course.experiments)


def rejected(fits: Fits, cfg: ScalingLawSettings) -> bool:
    """Whether the power law is rejected by its goodness of fit."""
    return fits.goodness["power"].p_value < 1.0 - cfg.level


def _exponent(study: Study, fits: Fits, head: Headline, cfg: ScalingLawSettings) -> Finding:
    course, exponent = study.course, fits.power.exponent
    exact, batched = exponent.interval, head.by_batch.interval
    good = fits.goodness["power"]
    verdict = (
        f"The power law does not describe this run (goodness of fit {p_equals(good.p_value)}), so the interval is "
        "that of the parameter of a law that does not hold"
        if rejected(fits, cfg)
        else f"The power law is not rejected (goodness of fit {p_equals(good.p_value)}), which does not establish it"
    )
    return Finding(
        id=f"law.{course.name}.exponent",
        question=f"{course.title}: if discoveries grow as a power of compute, with which exponent?",
        answer=(
            f"Exponent {number(exponent.estimate, 2)} ({100 * cfg.level:g}% interval {interval_words(exact)}; by "
            f"batches {interval_words(batched)}) from "
            f"{plural(fits.n, 'discovery').replace('discoverys', 'discoveries')}, experiments {fits.process.words}. "
            f"{verdict}. {start_words(head)}"
            f"{_other_definitions(study, cfg)}{NO_LEARNING} {limits(study)}"
        ),
        verdict="measured",
        method=(
            "Power-law process (Crow-AMSAA): maximum likelihood, exact chi-square interval for a run cut off at a "
            "given compute, discoveries independent. By batches: bootstrap of the counts of equal pieces of compute. "
            "Goodness of fit: Kolmogorov-Smirnov on rescaled times, null simulated with refitting."
        ),
        estimate=exponent.estimate,
        unit="exponent of compute",
        interval=exact,
        level=cfg.level,
        n=fits.n,
        p_value=None,
        tables=["tables/exponents.csv", "tables/starts.csv", "tables/laws.csv"],
        figures=[f"figures/cumulative_{course.name}.svg"],
        details={
            "kind": "exponent",
            "outcome": "power_law_rejected" if rejected(fits, cfg) else "power_law_not_rejected",
            "goodness_p": good.p_value,
            "unbiased": fits.power.unbiased,
            "bootstrap": fits.bootstrap.interval,
            "batch_bootstrap": batched,
            "batches": len(course.batches),
            "compute_measured": course.measured,
            "definitions": {name: vars(one.power.exponent) for name, one in study.fits.items()},
            "starts": head.starts.to_dict("records"),
        },
    )


def start_words(head: Headline | None) -> str:
    """What becomes of the exponent where the clock starts latest; empty where that was not asked."""
    if head is None:
        return ""
    later = head.starts[head.starts["start_share"] > 0]
    if later.empty:
        return ""
    last = later.iloc[-1]
    return (
        f"With the clock started after {100 * last['start_share']:g}% of the compute it is "
        f"{number(last['exponent'], 2)} ({interval_words((last['low'], last['high']))}). "
    )


def _other_definitions(study: Study, cfg: ScalingLawSettings) -> str:
    parts = [
        f"{number(one.power.exponent.estimate, 2)} ({interval_words(one.power.exponent.interval)}) of those "
        f"{one.process.words}{', of which no power law holds' if rejected(one, cfg) else ''}"
        for definition, one in study.fits.items()
        if definition != study.course.headline.definition
    ]
    return f"By other definitions of a discovery it is {' and '.join(parts)}. " if parts else ""


def _best_model(study: Study, fits: Fits, cfg: ScalingLawSettings) -> Finding:
    course, table = study.course, law_table(study.course, fits)
    by_aic = table.sort_values("delta_aic", kind="stable")
    by_bic = table.sort_values("delta_bic", kind="stable")
    close = list(by_aic.loc[by_aic["delta_aic"] < cfg.distinguished, "law"])
    best = close[0]
    first = (
        f"{LAW_WORDS[best].capitalize()} has the lowest AIC"
        + (
            f"; {_laws(close[1:])} {'is' if len(close) == 2 else 'are'} "
            f"within {cfg.distinguished:g} of it and not distinguished from it"
            if close[1:]
            else ""
        )
        + f". By BIC it is {LAW_WORDS[str(by_bic['law'].iloc[0])]}"
    )
    tests = "; ".join(
        f"{LAW_WORDS[name]} {p_equals(test.p_value)}" for name, test in fits.against.items() if name in LAW_WORDS
    )
    described = [name for name, good in fits.goodness.items() if good.p_value >= 1.0 - cfg.level]
    fit = f"Goodness of fit does not reject {_laws(described)}" if described else "Goodness of fit rejects every law"
    return Finding(
        id=f"law.{course.name}.best_model",
        question=f"{course.title}: which law describes the discoveries best?",
        answer=(
            f"{first}. Against a constant rate, by simulation: {tests}. Laplace trend test "
            f"{p_equals(fits.trend.p_value)}. {fit}. A law that fits best among five may still be wrong. "
            f"{limits(study)}"
        ),
        verdict="measured",
        method=(
            "Maximum likelihood of five laws of the rate. p-values of likelihood ratios and of goodness of fit: "
            f"parametric bootstrap with refitting, {cfg.refits} draws, not corrected for their number. Laws less than "
            f"{cfg.distinguished:g} apart in AIC are called not distinguished."
        ),
        n=fits.n,
        p_value=None,
        tables=["tables/laws.csv"],
        figures=[f"figures/cumulative_{course.name}.svg", f"figures/rate_{course.name}.svg"],
        details={
            "kind": "best_model",
            "outcome": best if len(close) == 1 else "not_distinguished",
            "aic": dict(zip(by_aic["law"], by_aic["delta_aic"], strict=True)),
            "bic": dict(zip(by_bic["law"], by_bic["delta_bic"], strict=True)),
            "against_constant_p": {name: test.p_value for name, test in fits.against.items()},
            "goodness_p": {name: good.p_value for name, good in fits.goodness.items()},
            "laplace": vars(fits.trend),
            "parameters": {name: dict(law.parameters) for name, law in fits.laws.items()},
        },
    )


def _laws(names: list[str]) -> str:
    words = [LAW_WORDS[name] for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _line_r2(study: Study, fits: Fits, head: Headline, cfg: ScalingLawSettings) -> Finding:
    course, tail = study.course, (1.0 - cfg.level) / 2.0
    reached = {name: float((drawn >= head.r2 - 1e-12).mean()) for name, drawn in head.r2_null.items()}
    ranges = {name: [float(q) for q in np.quantile(drawn, [tail, 1 - tail])] for name, drawn in head.r2_null.items()}
    listed = "; ".join(f"{LAW_WORDS[name]} {100 * share:.0f}%" for name, share in reached.items())
    low, high = ranges["constant"]
    common_for = [name for name, share in reached.items() if share >= 1.0 - cfg.level]
    if len(common_for) > 1:
        worth = "Cumulative counts only rise, so a high R^2 is what several laws give and no evidence for a line."
    elif common_for:
        worth = f"Of these laws only {LAW_WORDS[common_for[0]]} often comes as close to a line."
    else:
        worth = "Few runs of these laws come as close to a line, which does not say what made this one do so."
    return Finding(
        id=f"law.{course.name}.line_r2",
        question=f"{course.title}: what is the R^2 of a line through the cumulative counts worth?",
        answer=(
            f"R^2 = {number(head.r2, 4)} at {cfg.points} points. Runs simulated from each fitted law reach at least "
            f"that in this share of cases: {listed}. Of a constant rate, {100 * cfg.level:g}% lie in "
            f"{number(low, 4)} to {number(high, 4)}. {worth} {brief_limits(study)}"
        ),
        verdict="measured",
        method=(
            "Least-squares line through cumulative counts at equally spaced points of compute. Distribution: "
            f"{cfg.draws} runs simulated from each law as fitted, its parameters taken as known."
        ),
        estimate=head.r2,
        unit="R^2",
        n=fits.n,
        tables=["tables/r2.csv"],
        figures=[f"figures/r2_{course.name}.svg"],
        details={"kind": "line_r2", "reached": reached, "ranges": ranges, "points": cfg.points},
    )


def _dispersion(study: Study, head: Headline, cfg: ScalingLawSettings) -> Finding:
    course, found = study.course, head.dispersion
    alpha = 1.0 - cfg.level
    if found.p_value < alpha and found.negative_binomial_p < alpha:
        conclusion = (
            "So they come in clusters or their rate changes, and intervals for independent events are too short."
        )
    elif min(found.p_value, found.negative_binomial_p) < alpha:
        conclusion = "The two tests disagree, so clusters are neither shown nor excluded."
    elif found.index < found.index_range[0]:
        conclusion = "So they come more evenly than independent events, and intervals for such are too wide."
    else:
        conclusion = "Clusters are not shown, nor excluded."
    return Finding(
        id=f"law.{course.name}.dispersion",
        question=f"{course.title}: do discoveries come one by one, or in clusters?",
        answer=(
            f"Counts in {len(course.batches)} equal pieces of compute have {number(found.index, 2)} times the "
            f"variance of independent events at a constant rate, of which {100 * cfg.level:g}% lie in "
            f"{interval_words(found.index_range)} ({p_equals(found.p_value)}). {conclusion} Negative binomial against "
            f"Poisson: {p_equals(found.negative_binomial_p)}. {brief_limits(study)}"
        ),
        verdict="measured",
        method=(
            "Pearson's chi-square of the counts per degree of freedom. p-values simulated under a constant rate "
            f"given the total, {cfg.draws} draws, not corrected for their number."
        ),
        estimate=found.index,
        unit="variance over mean",
        n=len(course.batches),
        p_value=found.p_value,
        tables=["tables/batches.csv"],
        figures=[f"figures/rate_{course.name}.svg"],
        details={
            "kind": "dispersion",
            "constant_rate_range": found.index_range,
            "negative_binomial_p": found.negative_binomial_p,
            "size": found.size,
        },
    )


def _prediction(study: Study, fits: Fits, head: Headline, cfg: ScalingLawSettings) -> Finding:
    course, n = study.course, fits.n
    checked, observed = "", None
    if head.held_out is not None:
        foretold, observed = head.held_out
        checked = (
            f" Checked on the run itself: from its first {100 * (1 - cfg.ahead):g}%, the rest was "
            f"foretold as {_counts(foretold)}; it brought {observed}."
        )
    return Finding(
        id=f"law.{course.name}.prediction",
        question=f"{course.title}: how many discoveries would the same again bring?",
        answer=(
            f"The next {compact(head.ahead)} {course.unit} would bring {_counts(head.next_counts)}, if the law "
            f"held on and discoveries were independent.{checked} {brief_limits(study)}"
        ),
        verdict="measured",
        method=(
            f"Simulated counts in the next {100 * cfg.ahead:g}% of the compute spent, parameters drawn by refitting. "
            "The check fits the first part alone."
        ),
        estimate=head.next_counts["constant"].estimate,
        unit="discoveries",
        interval=head.next_counts["constant"].interval,
        level=cfg.level,
        n=n,
        tables=["tables/predictions.csv"],
        figures=[f"figures/cumulative_{course.name}.svg"],
        details={
            "kind": "prediction",
            "ahead": head.ahead,
            "by_law": {name: vars(one) for name, one in head.next_counts.items()},
            "held_out": _held_out(head),
        },
    )


def _held_out(head: Headline) -> dict[str, object] | None:
    if head.held_out is None:
        return None
    foretold, observed = head.held_out
    return {"observed": observed, **{name: vars(one) for name, one in foretold.items()}}


def _counts(found: Mapping[str, Estimate]) -> str:
    return " or ".join(
        f"{interval_words(one.interval, 0)} by a {LAW_WORDS[name]} (middle {number(one.estimate, 0)})"
        for name, one in found.items()
    )


def _phases(study: Study, fits: Fits, head: Headline, cfg: ScalingLawSettings) -> Finding:
    course, found = study.course, head.phases
    return Finding(
        id=f"law.{course.name}.phases",
        question=f"{course.title}: is the later half more productive than the earlier?",
        answer=(
            f"Per unit of compute the later half brought {number(found.estimate, 2)} times the discoveries of the "
            f"earlier half ({100 * cfg.level:g}% interval {interval_words(found.interval)}, "
            f"{p_equals(found.p_value)}). {brief_limits(study)}"
        ),
        verdict="measured",
        method="Ratio of two Poisson rates, exact conditional binomial interval; discoveries taken as independent.",
        estimate=found.estimate,
        unit="ratio of rates, later over earlier half",
        interval=found.interval,
        level=cfg.level,
        n=fits.n,
        p_value=found.p_value,
        tables=["tables/batches.csv"],
        figures=[f"figures/rate_{course.name}.svg"],
        details={"kind": "phases"},
    )
