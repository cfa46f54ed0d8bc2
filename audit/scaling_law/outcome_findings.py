"""Findings on the outcomes of single experiments: records, what stands after noise, and quality against compute."""

from __future__ import annotations

import numpy as np
import pandas as pd

from audit.finding import Finding
from audit.scaling_law.certainty import Records
from audit.scaling_law.plan import ScalingLawSettings
from audit.scaling_law.quality import Quality
from audit.scaling_law.study import Study
from audit.wording import count, number, p_equals, plural

FIGURE_6 = " Figure 6 is such a mean: claim c14 of the claims audit sets it beside the best released nodes."


def outcome_findings(study: Study, cfg: ScalingLawSettings) -> list[Finding]:
    """Records and quality of a course whose single outcomes are known; none otherwise."""
    if study.records is None or study.quality is None:
        return []
    return [_records(study, study.records, cfg), _quality(study, study.quality, cfg)]


def _records(study: Study, records: Records, cfg: ScalingLawSettings) -> Finding:
    course, test = study.course, records.test
    low, high = test.interval
    as_luck = test.p_value >= 1.0 - cfg.level
    return Finding(
        id=f"law.{course.name}.records",
        question=f"{course.title}: are there more new bests than a search without learning would have?",
        answer=(
            f"{plural(test.count, 'new best')} in {count(records.n)} outcomes, the first not counted. The same "
            f"outcomes in random order have {number(test.expected, 1)} on average, and {number(low, 0)} to "
            f"{number(high, 0)} in {100 * cfg.level:g}% of orders ({p_equals(test.p_value)}). "
            + ("So their number is not shown to differ from luck of the draw. " if as_luck else
               "So they do not come as in a search without learning. ")
            + certain_words(study.certain, cfg)
        ),
        verdict="measured",
        method=(
            "Records after the first outcome, failures left out. Independent draws of one distribution have the "
            f"harmonic sum less 1; the p-value counts random orders of these outcomes ({cfg.draws} draws). A "
            "discovery stands against the baseline by a one-sided t-test with Benjamini-Hochberg over all "
            f"experiments; a record stands if its probability of being the best so far is above {cfg.certain:g}, "
            "outcomes being normal around what was measured, with nothing else known."
        ),
        estimate=float(test.count),
        unit="records",
        n=records.n,
        p_value=test.p_value,
        tables=["tables/certain.csv", "tables/course.csv"],
        figures=[f"figures/records_{course.name}.svg"],
        details={
            "kind": "records",
            "outcome": "as_random_order" if as_luck else "not_as_random_order",
            "expected": test.expected,
            "random_orders": [low, high],
            "certain": study.certain.replace({np.nan: None}).to_dict("records"),
        },
    )  # fmt: skip


def certain_words(table: pd.DataFrame, cfg: ScalingLawSettings) -> str:
    """What stands after noise: at the measured SD, else at the smallest and the largest that are assumed."""
    known = table[table["measured"]]
    shown = (
        known if not known.empty else table[table["noise_sd"].isin([table["noise_sd"].min(), table["noise_sd"].max()])]
    )
    parts = []
    for sd, rows in shown.groupby("noise_sd", sort=True):
        rows = rows.set_index("definition")
        base, record = rows.loc["baseline"], rows.loc["record"]
        parts.append(
            f"{count(base['discoveries'])} of {count(base['plain'])} stand against the baseline and "
            f"{count(record['discoveries'])} of {count(record['plain'])} new bests are {100 * cfg.certain:g}% sure "
            f"at SD {sd:.3g}"
        )
    source = "Seed noise was measured: " if not known.empty else "Seed noise is not known; if it were normal, "
    return f"{source}{'; '.join(parts)}."


def _quality(study: Study, found: Quality, cfg: ScalingLawSettings) -> Finding:
    course, last = study.course, found.table.iloc[-1]
    learned = found.p_value < 1.0 - cfg.level
    side = "better" if found.later_minus_earlier > 0 else "worse"
    change = f"Later outcomes are {side}" if learned else "Later outcomes are not shown to differ"
    return Finding(
        id=f"law.{course.name}.quality",
        question=f"{course.title}: does quality rise with compute faster than by drawing more often?",
        answer=(
            f"{change}: the mean of the later half is {number(abs(found.later_minus_earlier))} {side} than that of the "
            f"earlier, in {course.measure} ({p_equals(found.p_value)} in random order). The best so far is better than "
            f"the {100 * cfg.level:g}% band of the same outcomes in random order at {100 * found.above:.0f}% of the "
            f"points and worse than it at {100 * found.below:.0f}%; it ends at {number(last['best'])}. Better later "
            "outcomes are what a search that learns has; whether the best comes sooner for it is another question. A "
            f"curve of the best so far, or of the mean of the {cfg.pool} best, rises in any search, so its rise "
            "alone shows no learning."
            + (FIGURE_6 if course.published else "")
        ),
        verdict="measured",
        method=(
            "Search without learning: the run's own outcomes drawn without replacement, which leaves the run no "
            "credit for how good they are, only for when they came. Best of n: exact; mean of the best: random "
            "orders. Difference of halves: permutation test, two-sided."
        ),
        estimate=found.later_minus_earlier,
        unit=f"{course.measure}, later half minus earlier, positive is better",
        n=found.n,
        p_value=found.p_value,
        tables=[f"tables/quality_{course.name}.csv"],
        figures=[f"figures/quality_{course.name}.svg"],
        details={
            "kind": "quality",
            "outcome": change.lower().replace(" ", "_"),
            "share_above_band": found.above,
            "share_below_band": found.below,
            "best": float(last["best"]),
        },
    )  # fmt: skip
