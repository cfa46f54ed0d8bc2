"""Every law fitted to the discoveries of a course, what tells them apart, and what they foretell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd

from audit.finding import Withheld, permitted
from audit.scaling_law.course import Course, Process
from audit.scaling_law.plan import ScalingLawSettings
from audit.statistics import point_process as pp
from audit.statistics import point_tests as tests
from audit.statistics.estimate import Estimate, Floats

FORETOLD = ("constant", "power")  # laws that predictions are given of
POWER, BOOTSTRAP, RATE_RATIO = "power_law", "exponent_bootstrap", "rate_ratio"  # methods, as calibration names them
BATCHED = ("exponent_batch_bootstrap", "exponent_batch_bootstrap.slowing")
DISPERSION = ("dispersion.index", "dispersion.negative_binomial")
WithInterval = TypeVar("WithInterval", Estimate, tests.RateRatio)


def methods_in_use(courses: Sequence[Course], cfg: ScalingLawSettings) -> list[tuple[str, int]]:
    """(calibrated method, n) of every interval and test that `fitted` and `headline` give."""
    found: set[tuple[str, int]] = set()
    for course in courses:
        for process in course.processes:
            n = len(process.times)
            if enough(process.times, course.end, cfg):
                names = [POWER, BOOTSTRAP, "laplace_test", *(f"goodness_of_fit.{law}" for law in pp.LAWS)]
                names += [f"against_constant.{law}" for law in pp.LAWS if law != "constant"]
                found |= {(name, n) for name in names}
        times = course.headline.times
        if enough(times, course.end, cfg):
            found |= {(name, len(course.batches)) for name in (*BATCHED, *DISPERSION)}
            found |= {(POWER, len(later)) for _, _, later in _later(times, course.end, cfg)}
            cut = (1.0 - cfg.ahead) * course.end
            before = times[times <= cut]
            foretold = {len(times)} | ({len(before)} if enough(before, cut, cfg) else set())
            found |= {(f"prediction.{law}", n) for law in FORETOLD for n in foretold}
            found.add((RATE_RATIO, len(times)))
        outcomes = int(np.isfinite(course.values()).sum())
        found |= {("record_count_test", outcomes)} if outcomes else set()
    return sorted(found)


def enough(times: Floats, end: float, cfg: ScalingLawSettings) -> bool:
    """Whether laws can be fitted to times [n] in (0, end]: enough of them, and not all at the end."""
    return len(times) >= cfg.fit_from and bool(times.min() < end)


def _allowed(found: WithInterval, methods: Sequence[str], withheld: Withheld) -> WithInterval:
    """`found`, its interval left out where calibration says that one of the methods does not hold at this n."""
    interval = found.interval
    for method in methods:
        interval = permitted(interval, method, found.n, withheld)
    return replace(found, interval=interval)


@dataclass(frozen=True, kw_only=True)
class Fits:
    """The laws of one process. bootstrap: parametric, of the exponent. goodness, against: by law."""

    process: Process
    laws: Mapping[str, pp.Law]
    power: pp.PowerLaw
    bootstrap: Estimate
    goodness: Mapping[str, tests.Goodness]
    against: Mapping[str, tests.LikelihoodRatio]
    trend: tests.TrendTest

    @property
    def n(self) -> int:
        """Number of discoveries."""
        return len(self.process.times)


@dataclass(frozen=True, kw_only=True)
class Headline:
    """What is asked of a course's first process alone.

    by_batch: exponent with its batch bootstrap. r2: of the line through cumulative counts, r2_null: law -> [draws].
    ahead: compute ahead that `next_counts` are of. held_out: (law -> count foretold of the last part from what came
    before, count observed there); None where too little came before. starts: exponent by where the clock starts.
    """

    by_batch: Estimate
    dispersion: tests.Dispersion
    phases: tests.RateRatio
    r2: float
    r2_null: Mapping[str, Floats]
    ahead: float
    next_counts: Mapping[str, Estimate]
    held_out: tuple[Mapping[str, Estimate], int] | None
    starts: pd.DataFrame


def fitted(
    course: Course, process: Process, cfg: ScalingLawSettings, withheld: Withheld, rng: np.random.Generator
) -> Fits | None:
    """All laws of one process; None where its events are not `enough`."""
    times, end = process.times, course.end
    if not enough(times, end, cfg):
        return None
    laws = pp.fit_laws(times, end)
    power = pp.power_law(times, end, cfg.level, truncated="time")
    bootstrap = pp.exponent_bootstrap(times, end, cfg.level, rng, cfg.resamples)
    return Fits(
        process=process,
        laws=laws,
        power=replace(power, exponent=_allowed(power.exponent, [POWER], withheld)),
        bootstrap=_allowed(bootstrap, [BOOTSTRAP], withheld),
        goodness={name: tests.goodness_of_fit(name, times, end, rng, cfg.refits) for name in laws},
        against={
            name: tests.against_constant(name, times, end, rng, cfg.refits) for name in laws if name != "constant"
        },
        trend=tests.laplace_test(times, end),
    )


def headline(
    course: Course, fits: Fits, cfg: ScalingLawSettings, withheld: Withheld, rng: np.random.Generator
) -> Headline:
    """What is asked of the first process of a course, whose fits are `fits`."""
    times, end = fits.process.times, course.end
    half, ahead = end / 2.0, cfg.ahead * end
    early = int((times <= half).sum())
    by_batch = pp.exponent_batch_bootstrap(course.batches, cfg.level, rng, cfg.resamples)
    phases = tests.rate_ratio(fits.n - early, end - half, early, half, cfg.level)
    return Headline(
        by_batch=_allowed(by_batch, BATCHED, withheld),
        dispersion=tests.dispersion(course.batches, cfg.level, rng, cfg.draws),
        phases=_allowed(phases, [RATE_RATIO], withheld),
        r2=tests.line_r2(times, end, cfg.points),
        r2_null={name: tests.line_r2_null(law, cfg.points, rng, cfg.draws) for name, law in fits.laws.items()},
        ahead=ahead,
        next_counts=_foretold(times, end, ahead, cfg, withheld, rng),
        held_out=_held_out(times, end, cfg, withheld, rng),
        starts=_starts(times, end, cfg, withheld),
    )


def _foretold(
    times: Floats, end: float, ahead: float, cfg: ScalingLawSettings, withheld: Withheld, rng: np.random.Generator
) -> dict[str, Estimate]:
    found = {name: tests.prediction(name, times, end, ahead, cfg.level, rng, cfg.refits) for name in FORETOLD}
    return {name: _allowed(one, [f"prediction.{name}"], withheld) for name, one in found.items()}


def _held_out(
    times: Floats, end: float, cfg: ScalingLawSettings, withheld: Withheld, rng: np.random.Generator
) -> tuple[dict[str, Estimate], int] | None:
    """The last part of the run foretold from the part before it: the only forecast that can be checked."""
    cut = (1.0 - cfg.ahead) * end
    before = times[times <= cut]
    if not enough(before, cut, cfg):
        return None
    return _foretold(before, cut, end - cut, cfg, withheld, rng), len(times) - len(before)


def _later(times: Floats, end: float, cfg: ScalingLawSettings) -> Iterator[tuple[float, float, Floats]]:
    """Share of the compute, compute and times [k] from there on, for each start that leaves enough events."""
    for share in cfg.starts:
        start = share * end
        later = times[times > start] - start
        if enough(later, end - start, cfg):
            yield share, start, later


def _starts(times: Floats, end: float, cfg: ScalingLawSettings, withheld: Withheld) -> pd.DataFrame:
    """The exponent if the clock is started later: a power law has a zero of time, and the choice of it matters."""
    rows = []
    for share, start, later in _later(times, end, cfg):
        exact = pp.power_law(later, end - start, cfg.level, truncated="time").exponent
        found = _allowed(exact, [POWER], withheld)
        rows.append((share, start, found.n, found.estimate, *found.interval))
    return pd.DataFrame(rows, columns=["start_share", "start", "events", "exponent", "low", "high"])


def law_table(course: Course, fits: Fits) -> pd.DataFrame:
    """One row a law: parameters, AIC, BIC and how far behind the best, goodness of fit, against a constant rate."""
    best = {what: min(_criterion(law, fits.n, what) for law in fits.laws.values()) for what in ("aic", "bic")}
    rows = []
    for name, law in fits.laws.items():
        against = fits.against.get(name)
        rows.append(
            {
                "source": course.name,
                "definition": fits.process.definition,
                "law": name,
                "events": fits.n,
                "free": law.free,
                "log_likelihood": law.log_likelihood,
                "aic": law.aic,
                "delta_aic": law.aic - best["aic"],
                "bic": law.bic(fits.n),
                "delta_bic": law.bic(fits.n) - best["bic"],
                "goodness_p": fits.goodness[name].p_value,
                "against_constant_p": None if against is None else against.p_value,
                "parameters": ", ".join(f"{key} {value:.4g}" for key, value in law.parameters.items()),
            }
        )
    return pd.DataFrame(rows).sort_values("aic", kind="stable", ignore_index=True)


def _criterion(law: pp.Law, n: int, what: str) -> float:
    return law.aic if what == "aic" else law.bic(n)


def exponent_row(course: Course, fits: Fits) -> dict[str, object]:
    """The exponent of one process, for the table of all of them."""
    exponent, boot = fits.power.exponent, fits.bootstrap
    return {
        "source": course.name,
        "definition": fits.process.definition,
        "events": fits.n,
        "compute": course.end,
        "unit": course.unit,
        "exponent": exponent.estimate,
        "low": exponent.interval[0],
        "high": exponent.interval[1],
        "bootstrap_low": boot.interval[0],
        "bootstrap_high": boot.interval[1],
        "power_law_goodness_p": fits.goodness["power"].p_value,
        "laplace_p": fits.trend.p_value,
    }
