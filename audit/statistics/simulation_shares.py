"""Calibration checks of shares and event counts; see `simulation.py`. n: units of the (smaller) group, or events."""

from __future__ import annotations

from functools import partial

import numpy as np

from audit.statistics.check import Check, Design, Noises, covers
from audit.statistics.events import constant_rate
from audit.statistics.noise import Sampler
from audit.statistics.shares import ShareDifference, share_difference, wilson

LARGER = 15  # units of the second group for one of the first, as in a selection from a search
BINS = 35


def _two_groups(n: int, first: float, second: float, rng: np.random.Generator, level: float) -> ShareDifference:
    sizes = (n, LARGER * n)
    shares = [rng.binomial(size, share) / size for size, share in zip(sizes, (first, second), strict=True)]
    return share_difference(shares[0], sizes[0], shares[1], sizes[1], level)


def _difference(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, first: float, second: float) -> bool:
    return covers(_two_groups(n, first, second, rng, design.level).interval, first - second)


def _test(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, share: float) -> bool:
    return _two_groups(n, share, share, rng, design.level).p_value <= 1.0 - design.level


def _wilson(_noise: Sampler, n: int, rng: np.random.Generator, design: Design, share: float) -> bool:
    return covers(wilson(rng.binomial(n, share) / n, n, design.level).interval, share)


def _constant_rate(_noise: Sampler, n: int, rng: np.random.Generator, design: Design) -> bool:
    counts = rng.multinomial(n, np.full(BINS, 1.0 / BINS))
    return constant_rate(counts, design.level, rng, design.resamples).p_value <= 1.0 - design.level


_SHARES, _EVENTS = ("estimate", "shares"), ("estimate", "proportions", "events")
_ANY = Noises(met=("normal",), stress=())  # shares and counts know no other noise than their own
_MANY = (100, 500)

SHARE_CHECKS = (
    Check(
        "share_difference.interval",
        "interval",
        partial(_difference, first=0.45, second=0.38),
        _SHARES,
        _ANY,
        also=_MANY,
    ),
    Check("share_difference.p_value", "test", partial(_test, share=0.38), _SHARES, _ANY, also=_MANY),
    Check("wilson", "interval", partial(_wilson, share=0.5), _SHARES, _ANY, also=_MANY),
    Check("constant_rate.p_value", "test", _constant_rate, _EVENTS, _ANY, resampling_from=1, also=(100,)),
)
