"""The experiments on the loop as a part of other reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from audit.calibrate import CalibrationStatus, calibration_status
from audit.finding import Finding, Withheld
from audit.interventions.audit import audit, methods_in_use, other_arms, rate_contrasts, words
from audit.interventions.figures import arms
from audit.interventions.outcomes import confirmed_claims, search_outcomes
from audit.interventions.plan import InterventionSettings
from audit.interventions.reference import Kept
from audit.section import Section
from audit.wording import number, plural

CAPTION = (
    "Each arm against the whole loop. Dots: estimates; lines: intervals, each for itself. Filled: told apart after "
    "correction. Where an interval has no bounds, none is drawn; an outcome without any interval has no panel."
)
LIMITS = (
    "These searches are this project’s own loop with its built-in proposer, at a scale of about a second a run. They "
    "say what a module or a rule does to this loop there, and nothing about ASI-Arch, whose loop was never ablated. "
    "The proposer’s settings decide where its ideas come from, how often it errs and how much it can learn from papers "
    "and analyses, so the shares of origins are no evidence about language models."
)


def outcomes_of(kept: Kept, settings: InterventionSettings) -> pd.DataFrame:
    """One row a search; see `search_outcomes`."""
    measured = kept.measured
    return search_outcomes(
        measured.experiments, measured.confirmations, settings.confirm, settings.exploratory.baseline
    )


def verdict(outcomes: pd.DataFrame, settings: InterventionSettings) -> str:
    """What the searches came to, in two sentences."""
    claims, confirmed = int(outcomes["claims"].sum()), int(outcomes["confirmed"].sum())
    start = (
        f"In {len(outcomes)} searches of this project’s own loop, {confirmed} of {claims} claims, programs that came "
        "out better than every baseline, were confirmed on fresh seeds"
    )
    contrasts, weaker = rate_contrasts(outcomes, settings), ""
    if not confirmed:
        contrasts = rate_contrasts(outcomes, settings, "weaker_rate", "weaker_confirmed")
        weaker = f", counting those that beat {settings.exploratory.baseline} again (exploratory)"
    told = [one for one in contrasts if one.p_adjusted < 1 - settings.level]
    if not told:
        return f"{start}. No arm’s rate was told apart from that of {words(settings.reference_arm)}{weaker}."
    listed = "; ".join(f"{words(one.arm)} {number(one.ratio.estimate, 2)} times" for one in told)
    return (
        f"{start}. The rate differed from that of {words(settings.reference_arm)}{weaker} for {listed}; "
        f"{plural(len(contrasts) - len(told), 'other arm')} not told apart."
    )


def section(
    kept: Kept | None, settings: InterventionSettings, stored: pd.DataFrame
) -> tuple[Section, dict[tuple[str, int], CalibrationStatus]]:
    """The part of a report, and the calibration of its intervals; without results it says how to make them.

    stored: the table of calibration.
    """
    title = "What the loop’s modules and rules do: an experiment"
    if kept is None:
        told = f"No such searches are kept in {settings.reference}; `nox -s audit_scaling -- redo=true` runs them."
        return _section(title, (told,), (), {}), {}
    outcomes = outcomes_of(kept, settings)
    calibration = {key: calibration_status(stored, *key) for key in methods_in_use(outcomes, settings)}
    withheld: Withheld = frozenset(key for key, status in calibration.items() if status.failures)
    findings = audit(outcomes, settings, withheld)
    claims = confirmed_claims(kept.measured.experiments, kept.measured.confirmations, settings.confirm)
    searches = outcomes[outcomes["arm"] == settings.reference_arm]
    told = (
        f"{len(set(outcomes['arm']))} arms, {outcomes['seed'].nunique()} search seeds each, "
        f"{_each(outcomes['experiments'])} experiments a search. A discovery is a kept program better than every "
        "baseline at search time; it is confirmed if it is certified and beats the best of those baselines again on "
        f"{kept.measured.confirmations['seed'].nunique()} fresh seeds (false discovery rate "
        f"{settings.confirm.false_discovery_rate:g} within a search). {words(settings.reference_arm).capitalize()} "
        f"made {number(searches['claims'].mean(), 1)} claims a search, of which "
        f"{number(searches['confirmed'].mean(), 1)} were confirmed. Gains vary so much between "
        f"seeds that the only claim of a search needed a mean gain of {number(claims['needed'].max(), 3)} nats per "
        "token, and the best of several more."
    )
    paragraphs = (told, LIMITS, *kept.told(settings))
    tables = {
        "intervention_searches": outcomes,
        "intervention_arms": arm_table(outcomes, settings),
        "intervention_claims": claims.drop(columns=["kept", "status"]),
    }
    made = replace(
        _section(title, paragraphs, findings, tables),
        verdict=verdict(outcomes, settings),
        figures={"interventions": arms(findings, outcomes, settings)},
        captions={"interventions": CAPTION},
        shown=("intervention_arms", "intervention_searches"),
    )
    return made, calibration


def _each(counts: pd.Series) -> str:
    """`40`, or `38 to 40` where searches differ."""
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def arm_table(outcomes: pd.DataFrame, settings: InterventionSettings) -> pd.DataFrame:
    """Means of a search by arm, in the order of the plan."""
    columns = [
        "hours",
        "scored",
        "kept",
        "claims",
        "confirmed",
        "weaker_confirmed",
        "false_share",
        "leak_share",
        "best_bits",
    ]
    means = outcomes.groupby("arm")[columns].mean()
    leaky = (outcomes["best_standing"] == "leaky").groupby(outcomes["arm"]).sum()
    order = [settings.reference_arm, *other_arms(outcomes, settings)]
    table = means.assign(leaky_best=leaky, searches=outcomes.groupby("arm").size())
    return table.loc[[arm for arm in order if arm in table.index]].reset_index()


def _section(
    title: str, paragraphs: tuple[str, ...], findings: Sequence[Finding], tables: dict[str, pd.DataFrame]
) -> Section:
    return Section(
        name="interventions",
        title=title,
        verdict="",
        paragraphs=paragraphs,
        findings=tuple(findings),
        tables=tables,
        figures={},
        captions={},
        shown=(),
    )
