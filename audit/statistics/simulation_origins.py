"""Calibration checks of the statistics of origins; see `simulation.py`. n: architectures, or items labelled.

Architectures have one component and on average four more. Those of one architecture resemble each other: their origins
and kinds are Dirichlet-multinomial.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from audit.statistics.check import Check, Design, Noises, covers
from audit.statistics.clusters import cluster_difference, cluster_share, rao_scott
from audit.statistics.concentration import (
    CONCENTRATION_FROM,
    MEASURES,
    concentration_intervals,
    concentration_null,
    effective_number,
    entropy,
    gini,
    top_share,
)
from audit.statistics.enrichment import enrichment
from audit.statistics.estimate import Floats
from audit.statistics.labelling import KAPPA_FROM, cohen_kappa, corrected_shares
from audit.statistics.noise import Sampler

LARGER = 15  # architectures of the second group for one of the first, as in a selection from a search
TOP = 4
ORIGINS = np.array([0.4, 0.5, 0.1])
RARE = np.array([0.07, 0.93])
KINDS = np.exp(-np.arange(39) / 7.0)  # about as unequal as published kinds of component
KINDS = KINDS / KINDS.sum()
ALIKENESS = 4.0  # Dirichlet concentration: an intraclass correlation of 0.2
RIGHT = 0.8  # chance that a label is right


def _labels(n: int, shares: Floats, rng: np.random.Generator) -> Floats:
    """Counts [n architectures, k] of components."""
    own = rng.gamma(ALIKENESS * shares, size=(n, len(shares))) + 1e-300
    counts = rng.multinomial(1 + rng.poisson(4.0, n), own / own.sum(axis=1, keepdims=True))
    return counts.astype(np.float64)


def _share(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, shares: Floats) -> bool:
    counts = _labels(n, shares, rng)
    found = cluster_share(counts[:, 0], counts.sum(axis=1), design.level, rng, design.resamples)
    return covers(found.interval, float(shares[0]))


def _difference(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, shares: Floats, test: bool) -> bool:
    """The interval of a difference, or the test of none."""
    other = shares if test else np.array([0.85 * shares[0], 1.0 - 0.85 * shares[0]])
    first, second = _labels(n, shares, rng), _labels(LARGER * n, other, rng)
    columns = (first[:, 0], first.sum(axis=1), second[:, 0], second.sum(axis=1))
    found = cluster_difference(*columns, design.level, rng, design.resamples)
    return found.p_value <= 1.0 - design.level if test else covers(found.interval, float(shares[0] - other[0]))


def _rao_scott(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, shares: Floats) -> bool:
    group = np.arange((1 + LARGER) * n) < n
    return rao_scott(_labels(len(group), shares, rng), group).p_value <= 1.0 - design.level


def _concentration(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, measure: str) -> bool:
    found = concentration_intervals(_labels(n, KINDS, rng), top=TOP, level=design.level)
    return covers(found[measure].interval, TRUE[measure])


def _null(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, alike: bool) -> bool:
    """Entropies of two groups of one population: architectures dealt out, or independent components."""
    if alike:
        groups = [_labels(size, KINDS, rng) for size in (n, LARGER * n)]
    else:
        groups = [rng.multinomial(5 * size, KINDS).astype(np.float64) for size in (n, LARGER * n)]
    table = concentration_null(*groups, top=TOP, level=design.level, rng=rng, draws=design.resamples)
    return float(table.set_index("measure").loc["entropy", "p_value"]) <= 1.0 - design.level


def _enrichment(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, test: bool) -> bool:
    """A component that a tenth of both groups have."""
    present = [{"component": int(rng.binomial(size, 0.1))} for size in (n, LARGER * n)]
    row = enrichment(present[0], n, present[1], LARGER * n, design.level).iloc[0]
    return bool(row["p_value"] <= 1.0 - design.level) if test else covers((row["low"], row["high"]), 1.0)


def _kappa(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, shares: Floats) -> bool:
    """The second labeller repeats the first's label at a rate, which is the true kappa, and draws one otherwise."""
    while True:  # again where the labels are too few for an interval
        first = rng.choice(len(shares), n, p=shares)
        second = np.where(rng.random(n) < RIGHT, first, rng.choice(len(shares), n, p=shares))
        interval = cohen_kappa(first.astype(str).tolist(), second.astype(str).tolist(), design.level).interval
        if math.isfinite(interval[0]):
            return covers(interval, RIGHT)


def _corrected(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, alike: bool) -> bool:
    """Labels of n architectures; as many single components with the truth tell the errors. The rarest share."""
    rates = RIGHT * np.eye(len(ORIGINS)) + (1.0 - RIGHT) / len(ORIGINS)
    errors = np.array(
        [rng.multinomial(count, row) for count, row in zip(rng.multinomial(n, ORIGINS), rates, strict=True)]
    )
    true = _labels(n, ORIGINS, rng).astype(np.int64)
    said = rng.multinomial(true, rates).sum(axis=1)
    if not alike:
        said = rng.multinomial(5 * n, ORIGINS @ rates)
    found = corrected_shares(said, errors, design.level, rng, design.resamples)
    return covers(found[-1].interval, float(ORIGINS[-1]))


TRUE = {"top_share": top_share(KINDS, TOP), "gini": gini(KINDS), "entropy": entropy(KINDS)}
TRUE["effective_number"] = effective_number(KINDS)

_ANY = Noises(met=("normal",), stress=())  # labels know no other noise than their own
_CLUSTERS = ("estimate", "shares", "clusters")
_CONCENTRATION = ("estimate", "clusters", "concentration")
_ENRICHMENT = ("estimate", "multiplicity", "enrichment")
_LABELLING = ("estimate", "clusters", "labelling")
_USED = (106, 1667)
_GALLERY = (106,)  # beside fifteen times as many

ORIGIN_CHECKS = (
    *(
        Check(f"cluster_share{name}", "conservative", partial(_share, shares=shares), _CLUSTERS, _ANY, None, 10, _USED)
        for name, shares in (("", ORIGINS), (".rare", RARE))
    ),
    *(
        Check(
            f"cluster_difference.{kind}{name}",
            "test" if kind == "p_value" else "conservative",
            partial(_difference, shares=shares, test=kind == "p_value"),
            _CLUSTERS,
            _ANY,
            bootstrap_from=10,
            also=_GALLERY,
        )
        for kind in ("interval", "p_value")
        for name, shares in (("", ORIGINS), (".rare", RARE))
    ),
    Check("rao_scott", "test", partial(_rao_scott, shares=ORIGINS), _CLUSTERS, _ANY, bootstrap_from=10, also=_GALLERY),
    Check(
        "rao_scott.rare", "test", partial(_rao_scott, shares=KINDS), _CLUSTERS, _ANY, bootstrap_from=10, also=_GALLERY
    ),
    *(
        Check(
            f"concentration_intervals.{measure}",
            "conservative",
            partial(_concentration, measure=measure),
            _CONCENTRATION,
            _ANY,
            bootstrap_from=CONCENTRATION_FROM,
            also=_USED,
        )
        for measure in MEASURES
    ),
    *(
        Check(
            f"concentration_null.{name}",
            "test",
            partial(_null, alike=name == "clusters"),
            _CONCENTRATION,
            _ANY,
            bootstrap_from=10,
            also=_GALLERY,
        )
        for name in ("clusters", "units")
    ),
    Check(
        "enrichment.interval",
        "exact",
        partial(_enrichment, test=False),
        _ENRICHMENT,
        _ANY,
        bootstrap_from=20,
        also=_GALLERY,
    ),
    Check(
        "enrichment.p_value",
        "test",
        partial(_enrichment, test=True),
        _ENRICHMENT,
        _ANY,
        bootstrap_from=20,
        also=_GALLERY,
    ),
    *(
        Check(
            f"cohen_kappa{name}",
            "conservative",
            partial(_kappa, shares=shares),
            _LABELLING,
            _ANY,
            None,
            KAPPA_FROM,
            _USED,
        )
        for name, shares in (("", ORIGINS), (".rare", RARE))
    ),
    *(
        Check(
            f"corrected_shares.{name}",
            "conservative",
            partial(_corrected, alike=name == "clusters"),
            _LABELLING,
            _ANY,
            bootstrap_from=50,
            also=_USED,
        )
        for name in ("clusters", "units")
    ),
)
