"""The program that a search would select under each rule, and how good it honestly is."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd

from audit.finding import Finding, Withheld, name_slug, permitted
from audit.statistics.paired import paired_t
from audit.threshold.evidence import ThresholdEvidence
from audit.threshold.outcomes import HONEST, discarding
from audit.threshold.plan import SelectionRule, ThresholdSettings
from audit.threshold.rates import caveat
from audit.threshold.rules import RULE_WORDS, discarded, judged, scale_slug
from audit.wording import plural, signed, span


def selection_table(evidence: ThresholdEvidence, cfg: ThresholdSettings) -> pd.DataFrame:
    """What a search under each rule would select: the lowest loss that is not discarded, seed by seed.

    Columns: source, scale, rule, seed, candidate, name, state, loss, honest_loss, baseline_loss, honest_difference
    (honest loss minus baseline loss; NaN where the honest loss is not known). No row where everything is discarded.
    """
    rows = []
    for source, scale in discarding(evidence):
        everything = judged(evidence, source, scale)
        for seed, own in everything.groupby("seed", sort=True):
            for rule in get_args(SelectionRule):
                kept = own[~discarded(own, rule, cfg)]
                if kept.empty:
                    continue
                best = kept.loc[kept["loss"].idxmin()]
                same = {name: best[name] for name in ("candidate", "name", "state", "loss", "baseline_loss")}
                outcome = {"honest_loss": best["honest"], "honest_difference": best["honest"] - best["baseline_loss"]}
                rows.append({"source": source, "scale": scale, "rule": rule, "seed": seed} | same | outcome)
    columns = ["source", "scale", "rule", "seed", "candidate", "name", "state", "loss", "honest_loss"]
    return pd.DataFrame(rows, columns=[*columns, "baseline_loss", "honest_difference"])


def selection_findings(evidence: ThresholdEvidence, cfg: ThresholdSettings, withheld: Withheld) -> list[Finding]:
    """One finding a rule, for each source and scale where some honest loss is known."""
    table = selection_table(evidence, cfg)
    findings = []
    for source, scale in discarding(evidence):
        if source != "asi_arch" and judged(evidence, source, scale)["honest"].notna().any():
            own = table[(table["source"] == source) & (table["scale"] == scale)]
            findings += [
                _selection_finding(evidence, source, scale, rule, own, cfg, withheld)
                for rule in get_args(SelectionRule)
            ]
    return findings


def _selection_finding(
    evidence: ThresholdEvidence,
    source: str,
    scale: str,
    rule: SelectionRule,
    table: pd.DataFrame,
    cfg: ThresholdSettings,
    withheld: Withheld,
) -> Finding:
    rows = table[table["rule"] == rule]
    seeds = judged(evidence, source, scale)["seed"].nunique()
    known = rows[rows["honest_difference"].notna()]
    found = paired_t(known["honest_difference"].to_numpy(dtype=np.float64), cfg.level)
    interval = permitted(found.interval, "paired_t.interval", found.n, withheld)
    selected = known.groupby(["name", "state"], sort=True).size().to_dict()
    names = ", ".join(f"{name} ({state}, {plural(count, 'seed')})" for (name, state), count in selected.items())
    settled = (
        f"the program of lowest kept loss has an honest loss {signed(found.estimate)} nats per token from the "
        f"baseline's (mean of {plural(found.n, 'seed')}, {100 * cfg.level:g}% interval {span(interval)}): {names}"
        if found.n
        else "no seed selects a program of known honest loss"
    )
    return Finding(
        id=f"threshold.{name_slug(source)}.selected_{rule}.{scale_slug(scale)}",
        question=f"How good, honestly, is what a search under {RULE_WORDS[rule]} would select, in {source} at {scale}?",
        answer=f"At {scale}, under {RULE_WORDS[rule]}, {settled}. {caveat(source)}",
        verdict="measured",
        method=(
            f"Each seed selects by its own losses among what {RULE_WORDS[rule]} keeps (one-sided: at "
            f"{100 * cfg.headline:g}%; certificate: only what is certified) and is scored by the honest loss of the "
            "same run, so it is as optimistic as a search that reports the run it selected by. Interval: paired t "
            f"over seeds, programs fixed, not corrected for the number of rules. {HONEST}"
        ),
        estimate=found.estimate,
        unit="nats per token",
        interval=interval,
        level=cfg.level,
        n=found.n,
        tables=["tables/selections.csv"],
        details={
            "kind": "selection",
            "source": source,
            "scale": scale,
            "rule": rule,
            "seeds": seeds,
            "seeds_without_an_answer": seeds - found.n,
            "selected": rows.drop(columns=["source", "scale", "rule"]).to_dict("records"),
        },
    )
