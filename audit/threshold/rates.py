"""How good "loss far below baseline means leak" is as a test, where the certificate tells who leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from audit.finding import Finding, Withheld, name_slug, permitted
from audit.statistics.estimate import Estimate
from audit.statistics.proportions import clopper_pearson
from audit.statistics.roc import AREA_INTERVAL_FROM, roc_area_interval, roc_points
from audit.statistics.simulation import ROC_AREAS
from audit.threshold.evidence import ThresholdEvidence
from audit.threshold.plan import ThresholdSettings
from audit.threshold.rules import (
    Flags,
    below,
    first_seed,
    judged,
    released,
    released_reasons,
    scale_slug,
    scales_of,
    unjudged,
)
from audit.wording import number, plural

UNRATED = ("mixed", "asi_arch")  # one leak at many strengths; survivors of the rule
Rate = Literal["true_positive_rate", "false_positive_rate", "precision"]
QUESTIONS: dict[Rate, str] = {
    "true_positive_rate": "How many of the leaky programs does the rule discard",
    "false_positive_rate": "How many of the clean programs does the rule discard",
    "precision": "How many of the programs that the rule discards are leaky",
}
SHARES: dict[Rate, str] = {
    "true_positive_rate": "leaky programs are discarded",
    "false_positive_rate": "clean programs are discarded",
    "precision": "discarded programs are leaky",
}
METHOD = (
    "Truth: the causality certificate (future or batch violated: leaky; both certified: clean; otherwise left out). "
    "Unit: a program, judged on its run with the first seed, without which it is left out; further seeds stand in "
    "details and do not add to n. Interval: Clopper-Pearson, exact for programs drawn independently, each threshold "
    "for itself."
)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Programs by truth and by what the rule does with them."""

    leaky_discarded: int
    leaky: int
    clean_discarded: int
    clean: int

    def rate(self, rate: Rate, level: float, withheld: Withheld) -> Estimate:
        """The rate with its exact interval; NaN where its denominator is empty."""
        hits, of = {
            "true_positive_rate": (self.leaky_discarded, self.leaky),
            "false_positive_rate": (self.clean_discarded, self.clean),
            "precision": (self.leaky_discarded, self.leaky_discarded + self.clean_discarded),
        }[rate]
        found = clopper_pearson(hits, of, level)
        return Estimate(
            estimate=found.estimate, interval=permitted(found.interval, "clopper_pearson", of, withheld), n=of
        )


def counts(rows: pd.DataFrame, flags: Flags) -> Counts:
    """Counts of judged rows [n] under a rule that discards where flags [n]; rows of unknown truth do not count."""
    leaky, clean = ((rows["state"] == state).to_numpy(dtype=bool) for state in ("leaky", "clean"))
    return Counts(
        leaky_discarded=int((flags & leaky).sum()),
        leaky=int(leaky.sum()),
        clean_discarded=int((flags & clean).sum()),
        clean=int(clean.sum()),
    )


def rated(evidence: ThresholdEvidence) -> list[tuple[str, str]]:
    """(source, scale) where rates can be told: the truth of some program is known, and no rule chose the programs."""
    return [
        (source, scale)
        for source in evidence.sources
        if source not in UNRATED and evidence.truth(source)
        for scale in scales_of(evidence, source)
        if set(judged(evidence, source, scale)["state"]) & {"leaky", "clean"}
    ]


def rate_table(evidence: ThresholdEvidence, cfg: ThresholdSettings, withheld: Withheld = frozenset()) -> pd.DataFrame:
    """One row a source, scale, seed and threshold: each rate with _low, _high and _n, and the counts behind them."""
    rows = []
    for source, scale in rated(evidence):
        everything = judged(evidence, source, scale)
        for seed, own in everything.groupby("seed", sort=True):
            for threshold in cfg.thresholds:
                found = counts(own, below(own, threshold))
                row = {"source": source, "scale": scale, "seed": seed, "threshold": threshold, **vars(found)}
                for rate in QUESTIONS:
                    value = found.rate(rate, cfg.level, withheld)
                    low, high = value.interval
                    row |= {rate: value.estimate, f"{rate}_low": low, f"{rate}_high": high, f"{rate}_n": value.n}
                rows.append(row)
    return pd.DataFrame(rows)


def rate_findings(evidence: ThresholdEvidence, cfg: ThresholdSettings, withheld: Withheld) -> list[Finding]:
    """Rates at the headline threshold, the ROC area, and rates of the released rule, for each source and scale."""
    table = rate_table(evidence, cfg, withheld)
    findings = []
    for place, (source, scale) in enumerate(rated(evidence)):
        rows = table[(table["source"] == source) & (table["scale"] == scale)]
        seed = first_seed(evidence, source, scale)
        own = judged(evidence, source, scale)
        own = own[own["seed"] == seed]
        about = _About(
            source=source,
            scale=scale,
            seed=seed,
            rows=own,
            unjudged=unjudged(evidence, source, scale, seed),
            unknown=int((own["state"] == "unknown").sum()),
        )
        findings += [_rate_finding(about, rate, rows, cfg, withheld) for rate in QUESTIONS]
        findings.append(_area_finding(about, cfg, withheld, np.random.default_rng([cfg.random_seed, place])))
        findings.append(_released_finding(about, cfg, withheld))
    return findings


def caveat(source: str) -> str:
    """What rates of a source do not show."""
    if source == "zoo":
        return "The zoo was made for this test and is no sample of what a search proposes."
    return "If this archive was written under such a rule, it lacks what the rule removed, and the rates do not hold."


@dataclass(frozen=True, kw_only=True)
class _About:
    source: str
    scale: str
    seed: int
    rows: pd.DataFrame  # judged at the first seed
    unjudged: int
    unknown: int

    def details(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "scale": self.scale,
            "seed": self.seed,
            "not_judged": self.unjudged,
            "truth_unknown": self.unknown,
        }

    def left_out(self) -> str:
        if not self.unjudged + self.unknown:
            return ""
        return f" Left out: {self.unjudged} without a finished pair of runs, {self.unknown} of unknown truth."


def _rate_finding(about: _About, rate: Rate, rows: pd.DataFrame, cfg: ThresholdSettings, withheld: Withheld) -> Finding:
    found = counts(about.rows, below(about.rows, cfg.headline)).rate(rate, cfg.level, withheld)
    here = rows[rows["seed"] == about.seed]
    others = rows[(rows["seed"] != about.seed) & (rows["threshold"] == cfg.headline)]
    return Finding(
        id=f"threshold.{name_slug(about.source)}.{rate}.{scale_slug(about.scale)}",
        question=f"{QUESTIONS[rate]} at {100 * cfg.headline:g}%, in {about.source} at {about.scale}?",
        answer=(
            f"At {about.scale}, with the threshold at {100 * cfg.headline:g}%, "
            f"{rate_text(found, SHARES[rate], cfg.level)}. {caveat(about.source)}{about.left_out()}"
        ),
        verdict="measured",
        method=METHOD,
        estimate=found.estimate,
        unit="share of programs",
        interval=found.interval,
        level=cfg.level,
        n=found.n,
        tables=["tables/rates.csv"],
        figures=["figures/roc.svg"],
        details={
            "kind": "rate",
            **about.details(),
            "rate": rate,
            "threshold": cfg.headline,
            "thresholds": [
                {
                    "threshold": row["threshold"],
                    "estimate": row[rate],
                    "interval": [row[f"{rate}_low"], row[f"{rate}_high"]],
                    "n": row[f"{rate}_n"],
                }
                for row in here.to_dict("records")
            ],
            "other_seeds": [
                {"seed": row["seed"], "estimate": row[rate], "n": row[f"{rate}_n"]} for row in others.to_dict("records")
            ],
        },
    )


def _area_finding(about: _About, cfg: ThresholdSettings, withheld: Withheld, rng: np.random.Generator) -> Finding:
    leaky, clean = (about.rows.loc[about.rows["state"] == state, "drop"].to_numpy() for state in ("leaky", "clean"))
    enough = min(len(leaky), len(clean)) >= AREA_INTERVAL_FROM
    sizes = f"{len(leaky)} leaky and {plural(len(clean), 'clean program')}"
    area, interval = None, None
    answer = f"At {about.scale} there are {sizes}: too few for an area, which takes {AREA_INTERVAL_FROM} of either."
    if enough:
        found = roc_area_interval(leaky, clean, cfg.level, rng, cfg.resamples)
        area, interval = found.estimate, found.interval
        for method in ROC_AREAS:
            interval = permitted(interval, method, found.n, withheld)
        answer = (
            f"At {about.scale} a leaky program has the lower loss of the two with probability {number(area, 2)} "
            f"({100 * cfg.level:g}% interval {_between(interval, 2)}; {sizes}); 0.5 is no better than a coin."
        )
    return Finding(
        id=f"threshold.{name_slug(about.source)}.roc_area.{scale_slug(about.scale)}",
        question=f"How well does a low loss tell leaky from clean programs, in {about.source} at {about.scale}?",
        answer=f"{answer} {caveat(about.source)}{about.left_out()}",
        verdict="measured",
        method=(
            "Area under the ROC of the relative drop of the loss below its baseline, by Mann and Whitney, truth and "
            f"unit as for the rates. Interval from {AREA_INTERVAL_FROM} programs a class: bootstrap standard error "
            "within each class, Student's t on the logit; where the classes do not overlap, an exact one-sided bound."
        ),
        estimate=area,
        unit="probability",
        interval=interval,
        level=cfg.level,
        n=len(leaky) + len(clean),
        tables=["tables/rates.csv"],
        figures=["figures/roc.svg"],
        details={
            "kind": "roc_area",
            **about.details(),
            "leaky": len(leaky),
            "clean": len(clean),
            "points": roc_points(leaky, clean).tolist() if len(leaky) and len(clean) else [],
        },
    )


def _released_finding(about: _About, cfg: ThresholdSettings, withheld: Withheld) -> Finding:
    found = counts(about.rows, released(about.rows, cfg.released))
    rates = {rate: found.rate(rate, cfg.level, withheld) for rate in QUESTIONS}
    above = int(released_reasons(about.rows, cfg.released)["loss_above"].sum())
    benchmarked = int((about.rows["benchmark"].notna() & about.rows["baseline_benchmark"].notna()).sum())
    texts = [rate_text(rates[rate], SHARES[rate], cfg.level) for rate in QUESTIONS]
    first = rates["true_positive_rate"]
    return Finding(
        id=f"threshold.{name_slug(about.source)}.released_rule.{scale_slug(about.scale)}",
        question=f"What does the rule of the released code discard, in {about.source} at {about.scale}?",
        answer=(
            f"At {about.scale} {_joined(texts)}; {above} of the discarded lie above the baseline, not below it, and "
            f"{plural(benchmarked, 'program')} had a benchmark to be judged on. {caveat(about.source)}"
            f"{about.left_out()}"
        ),
        verdict="measured",
        method=(
            f"Discarded: loss more than {100 * cfg.released.loss:g}% off the baseline either way, or benchmark more "
            f"than {100 * cfg.released.benchmark:g}% below it. The estimate is the true positive rate. " + METHOD
        ),
        estimate=first.estimate,
        unit="share of leaky programs",
        interval=first.interval,
        level=cfg.level,
        n=first.n,
        tables=["tables/rates.csv"],
        details={
            "kind": "released_rule",
            **about.details(),
            **{
                rate: {"estimate": value.estimate, "interval": list(value.interval), "n": value.n}
                for rate, value in rates.items()
            },
            "above_baseline": above,
            "with_benchmark": benchmarked,
        },
    )


def rate_text(found: Estimate, what: str, level: float) -> str:
    """`12 of 26 leaky programs are discarded (46%, exact 95% interval 27% to 67%)`."""
    if not found.n:
        return f"there are no {what.split(' are ')[0]}"
    hits = round(found.estimate * found.n)
    interval = tuple(100 * limit for limit in found.interval)
    limits = f"{number(interval[0], 0)}% to {number(interval[1], 0)}%" if interval[0] == interval[0] else "not shown"
    share = number(100 * found.estimate, 0)
    return f"{hits} of {found.n} {what} ({share}%, exact {100 * level:g}% interval {limits})"


def _between(interval: tuple[float, float], digits: int) -> str:
    low, high = interval
    return f"{number(low, digits)} to {number(high, digits)}" if low == low else "not shown"


def _joined(texts: Sequence[str]) -> str:
    return f"{', '.join(texts[:-1])}, and {texts[-1]}"
