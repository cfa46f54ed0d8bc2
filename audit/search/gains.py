"""What the best of a search gained, beside what noise alone would bring the luckiest of as many equal programs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

from audit.evidence import printable
from audit.finding import Finding, name_slug
from audit.search.evidence import KEPT, SearchEvidence, baseline_means, experiment_table
from audit.statistics.estimate import NO_INTERVAL, checked_level
from audit.statistics.selection import expected_best
from audit.wording import number, plural, signed, span

UNIT = "nats per token"
NOISE_FROM = 3  # seeds of a baseline
LUCK_DRAWS, LUCK_SEED = 200_000, 20250720
BEST_METHOD = (
    "Gain: mean honest loss of the baseline over its seeds minus the honest loss of the one run; positive is better. "
    "The interval is that of a single run: Student's t with the seed SD of the baselines with at least 3 finished "
    "seeds (root of their mean variance; degrees of freedom as of one baseline alone, because baselines share data "
    "orders), widened by the uncertainty of the baseline's mean. It is not corrected for the choice of the lowest of "
    "many losses. Luck: the best of as many single runs of the baseline itself, normal with that SD and independent; "
    "what is expected takes the SD and the baseline's mean as known, the one-sided limit allows for both having been "
    "estimated (simulation of 200,000 searches). Runs that share training seeds vary together, which leaves less "
    "to luck."
)
DISCOVERY_METHOD = (
    "Beats the baseline: honest loss of a kept run below the baseline's mean over seeds. Best so far: below that and "
    "below every kept run before. Expected from noise alone: n/2 and the sum over i of (1 - 2^-i)/i, for n kept runs "
    "of programs exactly as good as the baseline, whose mean is taken as known."
)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """SD over seeds of a single run, its degrees of freedom, and from how many baselines it comes."""

    sd: float
    degrees: int
    baselines: int


def seed_noise(evidence: SearchEvidence) -> Noise | None:
    """Seed SD of the baselines; None where none of them has 3 finished seeds or they do not vary."""
    means = baseline_means(evidence)
    known = means[(means["seeds"] >= NOISE_FROM) & (means["seed_sd"] > 1e-10 * means["honest_loss"])]
    if known.empty:
        return None
    sd = math.sqrt(float((known["seed_sd"] ** 2).mean()))
    return Noise(sd=sd, degrees=int(known["seeds"].min()) - 1, baselines=len(known))


def single_run_interval(gain: float, noise: Noise, seeds: int, level: float) -> tuple[float, float]:
    """Where the true gain lies, from one run against the mean of a baseline's `seeds` runs; selection aside."""
    quantile = float(stats.t.ppf(0.5 + checked_level(level) / 2, noise.degrees))
    reach = quantile * noise.sd * math.sqrt(1 + 1 / seeds)
    return gain - reach, gain + reach


@dataclass(frozen=True, kw_only=True)
class Luck:
    """Gain of the luckiest of several copies of a baseline over that baseline's mean.

    mean: expected, taking SD and baseline's mean as known. limit: not passed with the probability asked for, and
    p_value: chance of the observed gain or more; both allow for SD and mean having been estimated from a few seeds.
    """

    mean: float
    limit: float
    p_value: float


def best_of_copies(gain: float, copies: int, noise: Noise, seeds: int, level: float) -> Luck:
    """What luck brings the best of `copies` single runs, one-sided at `level`, beside the gain that was observed.

    A simulation of (largest of the copies less the baseline's mean) / estimated SD, each with its own noise.
    """
    rng = np.random.default_rng(LUCK_SEED)
    largest = special.ndtri(rng.random(LUCK_DRAWS) ** (1 / copies))
    mean = rng.standard_normal(LUCK_DRAWS) / math.sqrt(seeds)
    ratio = (largest - mean) / np.sqrt(rng.chisquare(noise.degrees, LUCK_DRAWS) / noise.degrees)
    return Luck(
        mean=expected_best(copies, noise.sd, level).mean,
        limit=noise.sd * float(np.quantile(ratio, checked_level(level))),
        p_value=float((1 + (ratio >= gain / noise.sd).sum()) / (1 + LUCK_DRAWS)),
    )


@dataclass(frozen=True, kw_only=True)
class _Best:
    """The kept run of lowest honest loss. luck: the gain of the luckiest of as many copies of the reference."""

    run: Mapping[str, Any]
    kept: int
    rank: int  # of the run by fitness, from 1
    beyond: int  # kept runs whose gain the fitness does not count in full
    seeds: int
    against: Mapping[str, float]
    interval: tuple[float, float]
    luck: Luck | None
    noise: Noise | None


def best_findings(evidence: SearchEvidence, level: float) -> list[Finding]:
    """The gain of the lowest honest loss that was kept; none where nothing was kept."""
    best = _best(evidence, level)
    if best is None:
        return []
    noise, luck = best.noise, best.luck
    finding = Finding(
        id=f"search.{name_slug(evidence.name)}.best_gain",
        question=f"How far below {printable(evidence.reference)} is the best kept run, and would luck explain it?",
        answer=_best_answer(evidence, best, level),
        verdict="measured",
        method=BEST_METHOD,
        estimate=best.run["gain"],
        unit=UNIT,
        interval=None if noise is None else best.interval,
        level=level,
        n=best.kept,
        tables=["tables/experiments.csv", "tables/baselines.csv"],
        figures=["figures/trend.svg"],
        details={
            "kind": "best_gain",
            **{name: best.run[name] for name in ("number", "name", "honest_loss", "standing")},
            "reference": printable(evidence.reference),
            "reference_seeds": best.seeds,
            "rank_by_fitness": best.rank,
            "beyond_the_window": best.beyond,
            "against": best.against,
            "corrected_for_selection": False,
            "noise": None if noise is None else dataclasses.asdict(noise),
            "luck": None if luck is None else dataclasses.asdict(luck),
        },
    )
    return [finding]


def _best(evidence: SearchEvidence, level: float) -> _Best | None:
    table, means = experiment_table(evidence), baseline_means(evidence)
    kept = table[table["outcome"] == KEPT]
    if kept.empty:
        return None
    run = kept.loc[kept["honest_loss"].idxmin()].to_dict()
    noise, seeds = seed_noise(evidence), int(means.loc[evidence.reference, "seeds"])
    return _Best(
        run=run,
        kept=len(kept),
        rank=1 + int((kept["fitness"] > run["fitness"]).sum()),
        beyond=int((kept["gain"] > evidence.window * means.loc[evidence.reference, "honest_loss"]).sum()),
        seeds=seeds,
        against={printable(name): loss - run["honest_loss"] for name, loss in means["honest_loss"].items()},
        interval=NO_INTERVAL if noise is None else single_run_interval(run["gain"], noise, seeds, level),
        luck=None if noise is None else best_of_copies(run["gain"], len(kept), noise, seeds, level),
        noise=noise,
    )


def _best_answer(evidence: SearchEvidence, best: _Best, level: float) -> str:
    run, reference = best.run, printable(evidence.reference)
    text = (
        f"The lowest honest loss of {plural(best.kept, 'kept run')} is {number(run['honest_loss'], 4)} {UNIT} "
        f"(experiment {run['number']}, {run['name']}, {run['standing']}), a gain of {signed(run['gain'], 4)} on the "
        f"mean of {reference} over {plural(best.seeds, 'seed')}."
    )
    if best.rank > 1:
        text += f" By fitness it is number {best.rank}."
    if best.beyond:
        text += (
            f" {best.beyond} of the {best.kept} gain more than {100 * evidence.window:g}%, beyond which the fitness "
            "counts no gain, so it does not rank them by their losses."
        )
    strongest = max(best.against, key=lambda name: -best.against[name])
    if strongest != reference:
        text += f" On the strongest baseline, {strongest}, it gains {signed(best.against[strongest], 4)}."
    if best.noise is None or best.luck is None:
        return f"{text} No baseline has {NOISE_FROM} seeds that differ, so the noise of a run is not known."
    copies = "one copy" if best.kept == 1 else f"{best.kept} copies"
    return (
        f"{text} As a single run it has a {100 * level:g}% interval of {span(best.interval, 4)}, which does not allow "
        f"for its having been chosen. Of {copies} of {reference}, noise alone (seed SD {number(best.noise.sd, 4)}) "
        f"would give the luckiest about {signed(best.luck.mean, 4)}, and with {100 * level:g}% probability at most "
        f"{signed(best.luck.limit, 4)}, the SD being known from {plural(best.noise.degrees + 1, 'seed')} only."
    )


def discovery_table(evidence: SearchEvidence) -> pd.DataFrame:
    """Discoveries so far against compute, one row an experiment: both definitions, and what noise alone would bring.

    Columns number, compute (device seconds), kept, beats_baseline, best_so_far, beats_baseline_by_luck,
    best_so_far_by_luck; all but the first two are counts so far.
    """
    table = experiment_table(evidence)
    is_kept = (table["outcome"] == KEPT).to_numpy(dtype=bool)
    if table.empty:
        return pd.DataFrame(columns=["number", "compute", "kept"])
    gains = np.where(is_kept, table["gain"], -np.inf)
    before = np.maximum.accumulate(np.concatenate([[0.0], gains[:-1]]))
    kept = is_kept.cumsum()
    orders = np.arange(1, len(table) + 1)
    records = np.concatenate([[0.0], np.cumsum((1 - 0.5**orders) / orders)])
    return pd.DataFrame(
        {
            "number": table["number"],
            "compute": table["compute"],
            "kept": kept,
            "beats_baseline": (gains > 0).cumsum(),
            "best_so_far": (gains > before).cumsum(),
            "beats_baseline_by_luck": kept / 2,
            "best_so_far_by_luck": records[kept],
        }
    )


def discovery_findings(evidence: SearchEvidence) -> list[Finding]:
    """How many kept runs count as discoveries under two definitions; none where nothing was kept."""
    table = discovery_table(evidence)
    if table.empty or not table["kept"].iloc[-1]:
        return []
    last = {name: float(value) for name, value in table.iloc[-1].items() if name != "number"}
    kept, luck = int(last["kept"]), [number(last[f"{name}_by_luck"], 1) for name in ("beats_baseline", "best_so_far")]
    finding = Finding(
        id=f"search.{name_slug(evidence.name)}.discoveries",
        question="How many runs would count as discoveries, and how many would by luck alone?",
        answer=(
            f"{last['beats_baseline']:.0f} of {plural(kept, 'kept run')} lie below the mean of "
            f"{printable(evidence.reference)}, {last['best_so_far']:.0f} of them the best so far; of as many "
            f"copies of it, noise alone would put about {luck[0]} there, {luck[1]} of them the best so far. Each is "
            "one seed, so none of them is established."
        ),
        verdict="measured",
        method=DISCOVERY_METHOD,
        estimate=last["beats_baseline"] / kept,
        unit="share of the kept runs",
        n=kept,
        tables=["tables/discoveries.csv"],
        figures=["figures/discoveries.svg"],
        details={"kind": "discoveries", **last},
    )
    return [finding]
