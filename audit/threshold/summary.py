"""The threshold audit in a few sentences, every number of them taken from findings or counted from certificates."""

from __future__ import annotations

from collections.abc import Sequence

from audit.finding import Finding
from audit.statistics.estimate import NO_INTERVAL, Estimate
from audit.threshold.evidence import ThresholdEvidence
from audit.threshold.frames import GROUPS, certificates_zoo, panel_name, place_name
from audit.threshold.plan import ThresholdSettings
from audit.threshold.rates import SHARES, Rate, rate_text
from audit.wording import number
from replication.certificate import LEAKS


def of_kind(findings: Sequence[Finding], *kinds: str) -> list[Finding]:
    """Findings of these kinds, in their order."""
    return [finding for finding in findings if finding.details.get("kind") in kinds]


def summary(
    evidence: ThresholdEvidence, findings: Sequence[Finding], published_note: str, cfg: ThresholdSettings
) -> list[str]:
    """The session in a few plain sentences, every number of them taken from findings or counted from certificates."""
    census = [finding.answer for finding in of_kind(findings, "census")]
    said = [*(census or [published_note]), _zoo_sentence(evidence)]
    said += _rate_sentences(findings, cfg)
    said += _smallest_sentences(findings, cfg)
    said += _published_sentence(findings, cfg)
    for details in (finding.details for finding in of_kind(findings, "discoveries")):
        at = next(row for row in details["rules"] if row["rule"] == "one_sided" and row["threshold"] == cfg.headline)
        said.append(
            f"A threshold of {100 * cfg.headline:g}% discards {at['honest_discarded']} of {at['honest_discoveries']} "
            f"programs whose honest loss lies below the baseline {place_name(details['source'], details['scale'])}; "
            "with one run a program, noise counts as better too."
        )
    return [sentence for sentence in said if sentence]


def _zoo_sentence(evidence: ThresholdEvidence) -> str:
    """How the certificate did on programs whose leaks were planted."""
    zoo = certificates_zoo(evidence)
    checks = zoo[zoo["check"].isin(LEAKS) & zoo["expected"].notna()]
    if checks.empty:
        return ""
    found = checks.assign(hit=(checks["outcome"] == "violated"), planted=checks["expected"] == "violated")
    programs = found.groupby(["group", "name"])
    caught = programs.apply(lambda own: bool((own["hit"] & own["planted"]).any()), include_groups=False)
    accused = programs.apply(lambda own: bool((own["hit"] & ~own["planted"]).any()), include_groups=False)
    leaky, clean = (caught.index.get_level_values("group") == group for group in GROUPS[:2])
    return (
        f"On programs made to test it, the certificate finds {int(caught[leaky].sum())} of {int(leaky.sum())} planted "
        f"leaks and accuses {int(accused[clean].sum())} of {int(clean.sum())} clean ones that look suspicious."
    )


def _rate_sentences(findings: Sequence[Finding], cfg: ThresholdSettings) -> list[str]:
    """What the headline threshold does with leaky and with clean programs, one sentence a source and scale."""
    found: dict[tuple[str, str], dict[Rate, str]] = {}
    for finding in of_kind(findings, "rate"):
        assert finding.estimate is not None
        assert finding.n is not None
        rate = finding.details["rate"]
        estimate = Estimate(estimate=finding.estimate, interval=finding.interval or NO_INTERVAL, n=finding.n)
        here = found.setdefault((finding.details["source"], finding.details["scale"]), {})
        here[rate] = rate_text(estimate, SHARES[rate], cfg.level)
    return [
        f"With the threshold at {100 * cfg.headline:g}%, {rates['true_positive_rate']} and "
        f"{rates['false_positive_rate']} {place_name(*where)}."
        for where, rates in found.items()
    ]


def _smallest_sentences(findings: Sequence[Finding], cfg: ThresholdSettings) -> list[str]:
    """From which strength on the rule and the certificate see each graded leak; one sentence a family."""
    words = {
        "crossed": "from strength {:.2g} on",
        "smallest": "at every strength above 0 that was tried, the least being {:g}",
        "zero": "even where there is none",
        "never": "at no strength up to {:g}",
    }
    by_family: dict[str, list[Finding]] = {}
    for finding in of_kind(findings, "smallest_leak"):
        by_family.setdefault(finding.details["family"], []).append(finding)
    sentences = []
    for family, here in by_family.items():
        rule = "; ".join(
            f"{f.details['scale']}: {words[f.details['outcome']].format(f.details['strength'])}" for f in here
        )
        seen = here[0].details["certificate"]["seen"]
        least = f"down to {min(seen):g}" if seen else "at no strength tried"
        sentences.append(
            f"Of one leak in graded strength ({family}), the threshold of {100 * cfg.headline:g}% sees: {rule}. The "
            f"certificate sees it {least}."
        )
    return sentences


def _published_sentence(findings: Sequence[Finding], cfg: ThresholdSettings) -> list[str]:
    """What the headline threshold does by published losses, and how near the lowest comes; one sentence or none."""
    lowest = {finding.details["scale"]: finding.details["drop"] for finding in of_kind(findings, "margin")}
    parts = [
        f"{round((finding.estimate or 0.0) * (finding.n or 0))} of {finding.n} at {finding.details['scale']} (the "
        f"lowest loss lies {number(100 * lowest[finding.details['scale']], 1)}% below)"
        for finding in of_kind(findings, "discards")
        if finding.details["source"] == "asi_arch"
    ]
    return (
        [f"By published losses, a threshold of {100 * cfg.headline:g}% discards {'; '.join(parts)}."] if parts else []
    )


def verdict_table(findings: Sequence[Finding]) -> str:
    """The rule's rates at the headline threshold, for a terminal."""
    lines = [f"{'source and scale':<28}{'rate':<22}{'estimate':>9}  {'exact interval':<16}{'n':>4}"]
    for finding in of_kind(findings, "rate"):
        low, high = finding.interval or NO_INTERVAL
        where = panel_name(finding.details["source"], finding.details["scale"])
        interval = f"{number(low, 2)} to {number(high, 2)}"
        lines.append(
            f"{where:<28}{finding.details['rate']:<22}{number(finding.estimate, 2):>9}  {interval:<16}{finding.n:>4}"
        )
    return "\n".join(lines)
