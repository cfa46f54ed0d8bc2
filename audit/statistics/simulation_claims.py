"""Calibration checks of the methods that published tables and logs are audited with; see `simulation.py`.

What `n` is differs: items a benchmark for the difference of two models, candidates for their comparison with baselines,
else rows.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
from scipy import stats

from audit.statistics.association import (
    SPEARMAN_FROM,
    MatchedGain,
    kendall_interval,
    matched_gain,
    partial_correlation,
    spearman_bootstrap,
)
from audit.statistics.benchmarks import compare_with_baselines, leave_one_out
from audit.statistics.check import Check, Design, Noises, Rule, Simulate, covers
from audit.statistics.estimate import Floats
from audit.statistics.noise import Sampler
from audit.statistics.reliability import cronbach_alpha, spread_explained
from audit.statistics.selection import shrink

BENCHMARKS, ITEMS, RHO = 7, 500, 0.5
POPULATION = 300_000
CORRELATION = 0.5
NULL_CORRELATION = 0.0


def _answers(rng: np.random.Generator, accuracy: Floats, items: int) -> Floats:
    """Measured accuracies [models, b] of true ones [models, b], answers of any two models correlated at RHO.

    An item is easy or hard for all models: easy with the benchmark's mean accuracy, and a model's chance on easy items
    is sqrt(RHO) above its chance on hard ones.
    """
    easy = np.clip(accuracy.mean(axis=0), 0.01, 0.99)
    tie = math.sqrt(RHO)
    count = rng.binomial(items, easy)
    right = rng.binomial(count, np.clip(accuracy + tie * (1.0 - easy), 0.0, 1.0))
    right += rng.binomial(items - count, np.clip(accuracy - tie * easy, 0.0, 1.0))
    measured: Floats = right / items
    return measured


def _differing(noise: Sampler, n: int, rng: np.random.Generator, design: Design, spread: float) -> tuple[Any, float]:
    """The difference of two models whose true accuracies differ by about `spread` a benchmark, and its truth."""
    truth = np.linspace(0.35, 0.65, BENCHMARKS) + spread * noise(rng, (2, BENCHMARKS))
    first, second = _answers(rng, truth, n)
    names = [f"benchmark {number}" for number in range(BENCHMARKS)]
    table = leave_one_out(first, second, np.full(BENCHMARKS, n), names, rho=RHO, level=design.level)
    return table.iloc[0], float((truth[0] - truth[1]).mean())


def _accuracy_difference(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    row, truth = _differing(noise, n, rng, design, 0.02)
    return covers((row["low"], row["high"]), truth)


def _accuracy_test(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return bool(_differing(noise, n, rng, design, 0.0)[0]["p_value"] <= 1.0 - design.level)


def _comparison(truth: Floats, n: int, rng: np.random.Generator, design: Design) -> dict[str, Floats]:
    """n candidates, the first rows of truth, against the other rows as baselines."""
    measured = _answers(rng, truth, ITEMS)
    table = compare_with_baselines(
        measured[:n],
        measured[n:],
        np.full(BENCHMARKS, ITEMS),
        rho=RHO,
        level=design.level,
        rng=rng,
        draws=design.resamples,
    )
    return {name: table[name].to_numpy(dtype=np.float64) for name in table}


def _comparison_intervals(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """All intervals of a table at once."""
    quality = 0.03 * noise(rng, (n + design.baselines, 1))
    truth = np.linspace(0.35, 0.65, BENCHMARKS) + quality
    true_means = truth.mean(axis=1)
    differences = (true_means[:n, None] - true_means[None, n:]).ravel()
    table = _comparison(truth, n, rng, design)
    return bool(((table["low"] <= differences) & (differences <= table["high"])).all())


def _comparison_tests(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """Either correction finds a difference, where no model is better than another."""
    accuracy = np.clip(0.5 + 0.08 * noise(rng, (BENCHMARKS,)), 0.3, 0.7)
    truth = np.tile(accuracy, (n + design.baselines, 1))
    table = _comparison(truth, n, rng, design)
    return bool((np.minimum(table["p_holm"], table["p_simultaneous"]) <= 1.0 - design.level).any())


def _alpha(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    scores = noise(rng, (n, 1)) + math.sqrt(2.0) * noise(rng, (n, BENCHMARKS))
    return covers(cronbach_alpha(scores, design.level).interval, 1.0 / (1.0 + 2.0 / BENCHMARKS))


def _spread(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """True scores of SD 1 measured with an error of SD 1, half of its variance shared."""
    error = math.sqrt(RHO) * rng.standard_normal() + math.sqrt(1.0 - RHO) * rng.standard_normal(n)
    estimate = spread_explained(noise(rng, (n,)) + error, np.ones(n), rho=RHO, level=design.level)
    return covers(estimate.interval, (1.0 - RHO) / (2.0 - RHO))


def _correlated(noise: Sampler, n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    x, rest = noise(rng, (n,)), noise(rng, (n,))
    return x, CORRELATION * x + math.sqrt(1.0 - CORRELATION**2) * rest


@lru_cache
def _rank_truths(noise: Sampler) -> tuple[float, float]:
    """Spearman's and Kendall's correlation of the population."""
    x, y = _correlated(noise, POPULATION, np.random.default_rng(0))
    return float(stats.spearmanr(x, y).statistic), float(stats.kendalltau(x, y).statistic)


def _spearman(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    estimate = spearman_bootstrap(*_correlated(noise, n, rng), design.level, rng, design.resamples)
    return covers(estimate.interval, _rank_truths(noise)[0])


def _kendall(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return covers(kendall_interval(*_correlated(noise, n, rng), design.level).interval, _rank_truths(noise)[1])


def _confounded(noise: Sampler, n: int, rng: np.random.Generator, correlation: float) -> tuple[Floats, Floats, Floats]:
    """Two columns driven by a third [n, 1], correlated at `correlation` beside it."""
    common, x = rng.standard_normal(n), noise(rng, (n,))
    y = correlation * x + math.sqrt(1.0 - correlation**2) * noise(rng, (n,))
    return common + x, common + y, common[:, None]


@lru_cache
def _partial_rank_truth(noise: Sampler) -> float:
    x, y, common = _confounded(noise, POPULATION, np.random.default_rng(0), CORRELATION)
    return partial_correlation(x, y, common, 0.95, "spearman").estimate


def _partial(
    noise: Sampler, n: int, rng: np.random.Generator, design: Design, method: Literal["pearson", "spearman"]
) -> bool:
    found = partial_correlation(*_confounded(noise, n, rng, CORRELATION), design.level, method)
    return covers(found.interval, CORRELATION if method == "pearson" else _partial_rank_truth(noise))


def _partial_test(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    x, y, common = _confounded(noise, n, rng, NULL_CORRELATION)
    return partial_correlation(x, y, common, design.level, "pearson").p_value <= 1.0 - design.level


def _matched(noise: Sampler, n: int, rng: np.random.Generator, design: Design, gain: float) -> MatchedGain:
    """A gain that grows by 0.5 an SD of the size and is `gain` one SD above its mean; noise grows with size too."""
    size = rng.standard_normal(n)
    gains = gain + 0.5 * (size - 1.0) + noise(rng, (n,)) * (0.75 + 0.25 * np.tanh(size))
    return matched_gain(gains, size[:, None], [1.0], design.level)


def _gain(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return covers(_matched(noise, n, rng, design, 0.5).gain.interval, 0.5)


def _gain_test(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return _matched(noise, n, rng, design, 0.0).gain.p_value <= 1.0 - design.level


def _slope(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    return covers(_matched(noise, n, rng, design, 0.0).slopes[0].interval, 0.5)


def _shrunk_best(noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    """The hardest gain: the one that looks best. True gains have SD 1, as the noise on average."""
    sds = np.linspace(0.5, 1.5, n)
    truth = 0.3 + noise(rng, (n,))
    posterior = shrink(truth + sds * rng.standard_normal(n), sds, design.level).posterior
    best = int(posterior["shrunk"].to_numpy().argmax())
    return covers((float(posterior["low"].iloc[best]), float(posterior["high"].iloc[best])), float(truth[best]))


_ANY = Noises(met=("normal", "skewed", "heavy_tailed"), stress=("very_heavy_tailed",))
_NORMAL_MODEL = Noises(met=("normal",), stress=("skewed", "heavy_tailed"))
_PRIORS = Noises(met=("normal", "skewed", "heavy_tailed"), stress=())
_TABLES = Noises(met=("normal",), stress=())
_BENCHMARKS = ("estimate", "multiplicity", "benchmarks")
_RELIABILITY = ("estimate", "paired", "reliability")
_ASSOCIATION = ("estimate", "association")
_ROWS = (8, 40, 106)
_MANY = (*_ROWS, 1772)
_SLOW_FROM = 5


def _parts(**simulations: tuple[Rule, Simulate]) -> list[tuple[str, Rule, Simulate]]:
    return [(part, rule, simulate) for part, (rule, simulate) in simulations.items()]


CLAIM_CHECKS = (
    *(
        Check(
            f"accuracy_difference.{part}",
            rule,
            simulate,
            _BENCHMARKS,
            _TABLES,
            resampling_from=_SLOW_FROM,
            also=(100, 500, 1000),
        )
        for part, rule, simulate in _parts(
            interval=("interval", _accuracy_difference), p_value=("test", _accuracy_test)
        )
    ),
    *(
        Check(
            f"compare_with_baselines.{part}", rule, simulate, _BENCHMARKS, _TABLES, bootstrap_from=1, also=(1, 5, 106)
        )
        for part, rule, simulate in _parts(
            interval=("interval", _comparison_intervals), p_value=("test", _comparison_tests)
        )
    ),
    Check("cronbach_alpha", "conservative", _alpha, _RELIABILITY, _NORMAL_MODEL, also=_ROWS),
    Check("spread_explained", "conservative", _spread, _RELIABILITY, _ANY, resampling_from=_SLOW_FROM, also=_ROWS),
    Check(
        "spearman_bootstrap", "interval", _spearman, _ASSOCIATION, _ANY, bootstrap_from=SPEARMAN_FROM, also=(40, 106)
    ),
    Check("kendall_interval", "conservative", _kendall, _ASSOCIATION, _ANY, also=_ROWS),
    *(
        Check(
            f"partial_correlation.{method}",
            "conservative",
            partial(_partial, method=method),
            _ASSOCIATION,
            _ANY,
            resampling_from=_SLOW_FROM,
            also=_MANY,
        )
        for method in ("pearson", "spearman")
    ),
    Check("partial_correlation.p_value", "test", _partial_test, _ASSOCIATION, _ANY, also=_MANY),
    *(
        Check(f"matched_gain.{part}", rule, simulate, _ASSOCIATION, _ANY, resampling_from=_SLOW_FROM, also=_ROWS)
        for part, rule, simulate in _parts(
            interval=("interval", _gain), p_value=("test", _gain_test), slope=("interval", _slope)
        )
    ),
    Check(
        "shrink",
        "conservative",
        _shrunk_best,
        ("estimate", "selection"),
        _PRIORS,
        resampling_from=_SLOW_FROM,
        also=_ROWS,
    ),
)
