"""Components of the published programs labelled again from their released texts, beside the printed shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from audit.claims.reading import between
from audit.finding import Finding, Withheld, permitted
from audit.origins.agreement import READERS, HandLabels, Labels, by_category, compared, presence
from audit.origins.archive import Program
from audit.origins.plan import OriginSettings
from audit.origins.published import SOURCE, PublishedOrigins
from audit.origins.rules import Rules
from audit.statistics.clusters import cluster_share
from audit.statistics.concentration import top_share
from audit.statistics.estimate import Floats
from audit.statistics.labelling import corrected_shares
from audit.wording import count, number, plural

RULES, WORDS = "keyword rules", "words alone"
ENOUGH = 4  # hand-labelled programs with a category, and without it, to correct its share by


@dataclass(frozen=True, kw_only=True)
class TextLabels:
    """Labels of every published program by each labeller, and by hand of a sample.

    labels: labeller -> program -> categories; the first is the headline. hand: None of
    programs that nobody read. notes: what a labeller left out, in words.
    """

    categories: tuple[str, ...]
    labels: Mapping[str, Labels]
    hand: HandLabels | None
    notes: tuple[str, ...]

    @property
    def main(self) -> str:
        """The labeller of the headline."""
        return next(iter(self.labels))

    @property
    def counts(self) -> Floats:
        """[programs, categories] of the headline's labeller: 1 where a program has a category."""
        labels = self.labels[self.main]
        return presence(labels, list(labels), self.categories)


def label_by_rules(programs: Mapping[int, Program], categories: Sequence[str], rules: Rules) -> dict[str, Labels]:
    """Labels by words and code, and by words alone: the second shows what hangs on the details of the rules.

    Rules for what is none of the categories are left out.
    """
    given = {
        RULES: {index: rules.label(one.motivation, one.source) for index, one in programs.items()},
        WORDS: {index: rules.label_words(one.motivation) for index, one in programs.items()},
    }
    return {
        name: {index: tuple(label for label in found if label in categories) for index, found in labels.items()}
        for name, labels in given.items()
    }


def agreement_table(text: TextLabels, cfg: OriginSettings, rng: np.random.Generator) -> pd.DataFrame:
    """Every labeller against every reader, labellers against each other, and the two readers, which is the ceiling."""
    names, pairs = list(text.labels), dict[str, tuple[Labels, Labels]]()
    hand = {} if text.hand is None else text.hand.readers
    pairs |= {
        f"{name} against {printed(reader)}": (text.labels[name], hand[reader]) for name in names for reader in hand
    }
    pairs |= {
        f"{other} against {name}": (text.labels[other], text.labels[name])
        for place, name in enumerate(names)
        for other in names[place + 1 :]
    }
    if hand:
        pairs[f"{printed(READERS[1])} against {printed(READERS[0])}"] = (hand[READERS[1]], hand[READERS[0]])
    return compared(pairs, text.categories, cfg, rng)


def printed(reader: str) -> str:
    """`reader 1`."""
    return reader.replace("_", " ")


def category_agreement(text: TextLabels) -> pd.DataFrame:
    """`by_category` of the headline's labeller against the first reader."""
    if text.hand is None:
        return pd.DataFrame()
    return by_category(text.labels[text.main], text.hand.readers[READERS[0]], text.categories)


def share_table(
    text: TextLabels, published: PublishedOrigins, cfg: OriginSettings, rng: np.random.Generator
) -> pd.DataFrame:
    """Each category's share of all labels, beside the printed one of the gallery.

    Columns: category, printed, share, low, high (programs drawn anew), programs (that have it), having (their share),
    corrected, corrected_low, corrected_high (share of programs that have it, by the errors against the first reader;
    NaN where the sample tells too little).
    """
    counts = text.counts
    totals = counts.sum(axis=1)
    rows = []
    for place, category in enumerate(text.categories):
        found = cluster_share(counts[:, place], totals, cfg.level, rng, cfg.resamples)
        rows.append(
            {
                "category": category,
                "printed": float(published.categories.loc[category, "gallery"]),
                "share": found.estimate,
                "low": found.interval[0],
                "high": found.interval[1],
                "programs": int(counts[:, place].sum()),
                "having": float(counts[:, place].mean()),
                **_corrected(text, place, cfg, rng),
            }
        )
    return pd.DataFrame(rows)


def _corrected(text: TextLabels, place: int, cfg: OriginSettings, rng: np.random.Generator) -> dict[str, float]:
    """Rogan and Gladen's correction of the share of programs that have a category."""
    names = ("corrected", "corrected_low", "corrected_high")
    if text.hand is None:
        return dict.fromkeys(names, float("nan"))
    truth = text.hand.readers[READERS[0]]
    sample = list(truth)
    is_so = presence(truth, sample, text.categories)[:, place]
    said = presence(text.labels[text.main], sample, text.categories)[:, place]
    if min(is_so.sum(), (1 - is_so).sum()) < ENOUGH:
        return dict.fromkeys(names, float("nan"))
    errors = [[float(((is_so == i) & (said == j)).sum()) for j in (1, 0)] for i in (1, 0)]
    have = text.counts[:, place]
    found = corrected_shares(np.column_stack([have, 1 - have]), errors, cfg.level, rng, cfg.resamples)[0]
    return dict(zip(names, (found.estimate, *found.interval), strict=True))


def text_findings(
    text: TextLabels,
    agreement: pd.DataFrame,
    shares: pd.DataFrame,
    published: PublishedOrigins,
    cfg: OriginSettings,
    withheld: Withheld,
) -> list[Finding]:
    """How well the labels agree with hand labels, and how far their shares are from the printed ones."""
    agreed = [] if text.hand is None else [_agreement_finding(text, agreement, cfg, withheld)]
    return [*agreed, _share_finding(text, shares, published, cfg)]


def _agreement_finding(text: TextLabels, table: pd.DataFrame, cfg: OriginSettings, withheld: Withheld) -> Finding:
    rows = table.set_index("comparison")
    row, ceiling = rows.iloc[0], rows.iloc[-1]
    sample = int(row["programs"])
    interval = permitted((float(row["jaccard_low"]), float(row["jaccard_high"])), "cluster_share", sample, withheld)
    limits = f"{between((100 * interval[0], 100 * interval[1]), 0)}%" if np.isfinite(interval[0]) else "no interval"
    return Finding(
        id=f"components.{SOURCE}_text.agreement",
        question=f"How well do {text.main} label the components of the published programs?",
        answer=(
            f"On {plural(sample, 'program')} read one by one, of the labels that either {text.main} or the first "
            f"reader gives both give {100 * row['jaccard']:.0f}% ({limits}): "
            f"{100 * row['precision']:.0f}% of the labels of the {text.main} are the reader's, "
            f"{100 * row['recall']:.0f}% of the reader's are found; kappa {number(row['kappa'], 2)}. The "
            f"two readings, the second without sight of the first, share {100 * ceiling['jaccard']:.0f}%. Both were "
            "made with language models of one kind, which may share their errors; neither is the truth."
        ),
        verdict="measured",
        method=(
            "Categories of each program by both; intervals by Wilson at the effective number of labels, programs drawn "
            "anew. The readings were made without the rules."
        ),
        estimate=float(row["jaccard"]),
        unit="share of labels",
        interval=interval,
        level=cfg.level,
        n=sample,
        tables=["text_agreement", "text_categories"],
        details={"kind": "text", "outcome": "measured", "ceiling": float(ceiling["jaccard"])},
    )


def _share_finding(text: TextLabels, shares: pd.DataFrame, published: PublishedOrigins, cfg: OriginSettings) -> Finding:
    again = shares["share"].to_numpy(dtype=np.float64)
    distance = 0.5 * float(np.abs(again - shares["printed"].to_numpy(dtype=np.float64)).sum())
    rank = float(stats.spearmanr(again, shares["printed"]).statistic)
    known = shares.dropna(subset=["low", "high"])
    outside = ~known["printed"].between(known["low"], known["high"])
    programs, labels = len(text.counts), int(text.counts.sum())
    tops = [100 * top_share(column, cfg.top) for column in (again, shares["printed"])]
    return Finding(
        id=f"components.{SOURCE}_text.shares",
        question="Do labels from the released texts give the printed shares of the gallery?",
        answer=(
            f"{text.main.capitalize()} give {count(labels)} labels to {count(programs)} programs "
            f"({labels / programs:.1f} each); figure 7 fits {published.units[0].told}. {100 * distance:.0f}% "
            "of the labels would have to change their "
            f"category to give the printed shares; the ranks of the categories correlate with {number(rank, 2)}. The "
            f"top {cfg.top} hold {tops[0]:.0f}% here and {tops[1]:.0f}% as printed. The printed share lies outside the "
            f"interval in {int(outside.sum())} of {len(known)} categories that have one, as it may where labellers "
            "draw the line elsewhere. A category counts once a program here; how the paper counted is not told."
        ),
        verdict="measured",
        method=f"Shares of labels by {text.main}; half the sum of absolute differences; Spearman's rank correlation.",
        estimate=100.0 * distance,
        unit="percent of labels",
        n=programs,
        tables=["text_shares"],
        figures=["text_shares"],
        details={"kind": "text", "outcome": "measured", "rank_correlation": rank, "outside": int(outside.sum())},
    )


def shown_categories(shares: pd.DataFrame, most: int) -> Sequence[str]:
    """The categories with the largest printed or regenerated shares."""
    largest = shares[["printed", "share"]].max(axis=1).sort_values(ascending=False, kind="stable").index[:most]
    return list(shares.loc[sorted(largest), "category"])
