"""Labels given by a labeller with an error rate: agreement, confusion with the truth, shares corrected for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special
from statsmodels.stats.inter_rater import cohens_kappa

from audit.statistics.clusters import cluster_share, cluster_table, resampled_sums
from audit.statistics.estimate import NO_INTERVAL, Estimate, Floats, checked_level

KAPPA_FROM = 50
LABEL_FROM = 10
EM_STEPS = 300


def confusion(truth: Sequence[str], said: Sequence[str], categories: Sequence[str]) -> pd.DataFrame:
    """Counts of items by true label (rows) and label said (columns), both in the order of `categories`.

    ValueError for a label that is no category, or where the two do not label the same number of items.
    """
    if len(truth) != len(said):
        raise ValueError(f"truth and said must label the same items, got {len(truth)} and {len(said)}")
    place = {name: position for position, name in enumerate(categories)}
    unknown = sorted({*truth, *said} - set(place))
    if unknown:
        raise ValueError(f"labels that are no category: {', '.join(unknown)}")
    counts = np.zeros((len(place), len(place)), dtype=np.int64)
    for one, other in zip(truth, said, strict=True):
        counts[place[one], place[other]] += 1
    return pd.DataFrame(counts, index=pd.Index(categories, name="truth"), columns=pd.Index(categories, name="said"))


def cohen_kappa(first: Sequence[str], second: Sequence[str], level: float) -> Estimate:
    """Cohen's (1960) kappa of two labellings of the same items: agreement beyond that of their label frequencies.

    Limits: Student's t on Fisher's z with the asymptotic error of Fleiss et al. (1969); bootstraps cover less for a
    rare label. NaN limits below 50 items, where a label is given less than 10 times by the two together, of perfect
    agreement, and where either gives all items one label; NaN where both give the same one.
    """
    level = checked_level(level)
    counts = confusion(first, second, sorted({*first, *second})).to_numpy(dtype=np.float64)
    n = len(first)
    if len(counts) < 2:
        return Estimate(estimate=math.nan, interval=NO_INTERVAL, n=n)
    with np.errstate(invalid="ignore", divide="ignore"):  # errors of perfect agreement
        found = cohens_kappa(counts)
    kappa = float(found.kappa)
    rarest = float((counts.sum(axis=0) + counts.sum(axis=1)).min())
    if n < KAPPA_FROM or rarest < LABEL_FROM or abs(kappa) > 1.0 - 1e-12 or not found.std_kappa > 1e-12:
        return Estimate(estimate=kappa, interval=NO_INTERVAL, n=n)
    reach = float(special.stdtrit(n - 1, 0.5 + level / 2.0)) * float(found.std_kappa) / (1.0 - kappa**2)
    middle = math.atanh(kappa)
    return Estimate(estimate=kappa, interval=(math.tanh(middle - reach), math.tanh(middle + reach)), n=n)


def label_agreement(first: ArrayLike, second: ArrayLike, categories: Sequence[str]) -> pd.DataFrame:
    """Two labellings of items that may have several labels: agreement on each category.

    first, second: bool [n items, k categories]. pabak: kappa adjusted for prevalence and bias, 2 * agreement - 1 (Byrt
    et al. 1993), for kappa is low for a rare label whatever the labellers do. jaccard: items both give it over items
    either does. NaN where undefined. Columns: category, first, second, both, agreement, kappa, pabak, jaccard.
    """
    a, b = _label_pair(first, second)
    if a.shape[1] != len(categories):
        raise ValueError(f"labels must have a column for each of {len(categories)} categories, got {a.shape[1]}")
    both, either, agreement = (a & b).sum(axis=0), (a | b).sum(axis=0), (a == b).mean(axis=0)
    share_a, share_b = a.mean(axis=0), b.mean(axis=0)
    chance = share_a * share_b + (1.0 - share_a) * (1.0 - share_b)
    nothing = np.full(len(categories), np.nan)
    return pd.DataFrame(
        {
            "category": list(categories),
            "first": a.sum(axis=0),
            "second": b.sum(axis=0),
            "both": both,
            "agreement": agreement,
            "kappa": np.divide(agreement - chance, 1.0 - chance, out=nothing.copy(), where=chance < 1.0 - 1e-12),
            "pabak": 2.0 * agreement - 1.0,
            "jaccard": np.divide(both, either, out=nothing.copy(), where=either > 0),
        }
    )


def label_overlap(
    truth: ArrayLike, said: ArrayLike, level: float, rng: np.random.Generator, resamples: int
) -> dict[str, Estimate]:
    """How far the labels said are the true ones, over all items and categories: bool [n items, k categories] each.

    precision: right labels over those said. recall: over the true ones. jaccard: over those in either. Intervals
    of `cluster_share`, an item being a cluster of labels. Of two readers, none of whom is the truth, only jaccard.
    """
    true, given = _label_pair(truth, said)
    both = (true & given).sum(axis=1)
    wholes = {"precision": given.sum(axis=1), "recall": true.sum(axis=1), "jaccard": (true | given).sum(axis=1)}
    return {name: cluster_share(both, whole, level, rng, resamples) for name, whole in wholes.items()}


def corrected_shares(
    said: ArrayLike, confusion_counts: ArrayLike, level: float, rng: np.random.Generator, resamples: int
) -> list[Estimate]:
    """True shares [k] of categories from labels with errors, the errors known from a sample with the truth.

    said: counts [k] of labels, or [m, k] of m clusters. confusion_counts [k, k]: truth by label, another sample. The
    most likely shares (the inverted matrix, Rogan and Gladen 1978 for two categories, where it gives no negative one,
    else expectation maximisation). Percentile limits over random error rates, Dirichlet with 1/k added to each count
    (Perks 1947), and labels: drawn alike, or clusters drawn anew. n: labels, or clusters. It assumes that the
    labeller errs here as it did there. NaN where a true category has no examples or two are labelled alike.
    """
    counts, errors = np.asarray(said, dtype=np.float64), cluster_table(confusion_counts, "confusion_counts")
    table = cluster_table(np.atleast_2d(counts), "said")
    k = table.shape[1]
    if errors.shape != (k, k) or table.sum() <= 0.0:
        raise ValueError(f"need labels of {k} categories and a square confusion of these, got shape {errors.shape}")
    sums = table.sum(axis=0)
    n, edge = len(table) if counts.ndim == 2 else int(sums.sum()), (1.0 - checked_level(level)) / 2.0
    if (errors.sum(axis=1) == 0.0).any() or np.linalg.cond(errors / errors.sum(axis=1, keepdims=True)) > 1e8:
        return [Estimate(estimate=math.nan, interval=NO_INTERVAL, n=n)] * k
    rates = errors / errors.sum(axis=1, keepdims=True)
    found = _true_shares((sums / sums.sum())[None], rates[None])[0]
    drawn = resampled_sums(table, rng, resamples) if counts.ndim == 2 else rng.dirichlet(sums + 1.0 / k, resamples)
    drawn_rates = np.stack([rng.dirichlet(row + 1.0 / k, resamples) for row in errors], axis=1)
    shares = _true_shares(drawn / drawn.sum(axis=1, keepdims=True), drawn_rates)
    limits = np.quantile(shares, [edge, 1.0 - edge], axis=0)
    return [
        Estimate(estimate=float(share), interval=(float(low), float(high)), n=n)
        for share, low, high in zip(found, *limits, strict=True)
    ]


def _true_shares(said: Floats, rates: Floats) -> Floats:
    """Most likely true shares [b, k] of shares said [b, k], where truth i is labelled j at rates [b, i, j]."""
    found = np.asarray(np.linalg.solve(rates.transpose(0, 2, 1), said[..., None])[..., 0], dtype=np.float64)
    outside = (found < 0.0).any(axis=1)
    if outside.any():
        labels, chances = said[outside], rates[outside]
        shares: Floats = np.full(labels.shape, 1.0 / said.shape[1])
        for _ in range(EM_STEPS):
            expected = np.maximum((shares[:, None] @ chances)[:, 0], 1e-300)
            shares *= (chances @ (labels / expected)[..., None])[..., 0]
        found[outside] = shares
    return found


def _label_pair(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    a, b = np.asarray(first, dtype=np.bool_), np.asarray(second, dtype=np.bool_)
    if a.ndim != 2 or a.shape != b.shape or len(a) == 0:
        raise ValueError(f"labels must be [items, categories] of one shape, got {a.shape} and {b.shape}")
    return a, b
