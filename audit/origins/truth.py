"""What keywords make of an archive whose truth is known: the built-in proposer knows every component and its origin.

Components: by the usual names and calls of the grammar, new against the parent's program. Origins: by words of the
motivation. Both are compared with what the proposer knows; for origins, errors learnt on one half correct the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from audit.claims.reading import between
from audit.finding import Finding, Withheld, permitted
from audit.origins.agreement import Labels, compared
from audit.origins.archive import Program, SearchArchive
from audit.origins.plan import OriginSettings
from audit.statistics.labelling import cohen_kappa, confusion, corrected_shares
from audit.wording import number
from loop.offline import PARTS, recognised

WEAKNESS = re.compile(r"has a weakness: (.*?)\.")


@dataclass(frozen=True, kw_only=True)
class TruthCheck:
    """components: `compared`, one row. confusion: truth by said, counts. origins: component by component, id,
    component, truth, said. shares: origin, truth, said, corrected, low, high, over the experiments of even number
    that have any; clusters: how many these are. kappa: of origins.
    """

    components: pd.DataFrame
    confusion: pd.DataFrame
    origins: pd.DataFrame
    shares: pd.DataFrame
    clusters: int
    kappa: float
    kappa_interval: tuple[float, float]


def check_truth(archive: SearchArchive, cfg: OriginSettings, rng: np.random.Generator) -> TruthCheck | None:
    """None where the archive's labels are not the proposer's own, its components are not of the grammar, or it has too
    few programs: none with a parent, or none of odd or of even number.
    """
    known = archive.components["component"].isin(list(PARTS))
    if archive.labelled_by != ("truth",) or not known.all():
        return None
    pairs = {"keywords against the proposer": (keyword_components(archive), true_components(archive))}
    origins = keyword_origins(archive)
    if not _children(archive) or origins["experiment"].astype(int).mod(2).nunique() < 2:
        return None
    names = [channel.origin for channel in cfg.channels.values()]
    kappa = cohen_kappa(list(origins["said"]), list(origins["truth"]), cfg.level)
    return TruthCheck(
        components=compared(pairs, tuple(PARTS), cfg, rng),
        confusion=confusion(list(origins["truth"]), list(origins["said"]), names),
        origins=origins,
        shares=_corrected(origins, names, cfg, rng),
        clusters=int(origins.loc[origins["experiment"] % 2 == 0, "experiment"].nunique()),
        kappa=kappa.estimate,
        kappa_interval=kappa.interval,
    )


def true_components(archive: SearchArchive) -> Labels:
    """New components of every program that has a parent, as the proposer knows them."""
    given = archive.components.groupby("experiment")["component"].apply(tuple).to_dict()
    return {program: given.get(program, ()) for program in _children(archive)}


def keyword_components(archive: SearchArchive) -> Labels:
    """New components of the same programs by their text and their parent's."""
    genomes = {number: recognised(program.source) for number, program in archive.programs.items()}
    found = {}
    for program, parent in _children(archive).items():
        before = genomes[parent]
        found[program] = tuple(name for name, option in genomes[program].items() if before.get(name) != option)
    return found


def _children(archive: SearchArchive) -> dict[int, int]:
    parents = archive.experiments["parent"].dropna().astype(int)
    return {
        int(program): parent
        for program, parent in parents.items()
        if program in archive.programs and parent in archive.programs
    }


def keyword_origins(archive: SearchArchive) -> pd.DataFrame:
    """Each component's origin by the words of its program's motivation: experiment, component, truth, said."""
    rows = []
    for row in archive.components.itertuples():
        program = archive.programs.get(int(row.experiment))
        if program is not None:
            said = origin_by_words(program, str(row.component))
            rows.append({"experiment": row.experiment, "component": row.component, "truth": row.origin, "said": said})
    return pd.DataFrame(rows, columns=["experiment", "component", "truth", "said"])


def origin_by_words(program: Program, component: str) -> str:
    """cognition where a paper is named right after the component, analysis where it is known to help against the
    weakness that the motivation names, original otherwise.
    """
    phrase = re.escape(str(PARTS[component]["says"])).replace(r"\{\}", r"[\w-]+( [\w-]+)?")
    if re.search(rf"{phrase} \(after ", program.motivation):
        return "cognition"
    weakness = WEAKNESS.search(program.motivation)
    told = weakness[1].lower() if weakness else ""
    return "analysis" if any(word in told for word in PARTS[component]["cures"]) else "original"


def _corrected(origins: pd.DataFrame, names: list[str], cfg: OriginSettings, rng: np.random.Generator) -> pd.DataFrame:
    """Errors learnt on experiments of odd number, put to use on the even ones, whose truth stands beside."""
    learnt = origins[origins["experiment"] % 2 == 1]
    used = origins[origins["experiment"] % 2 == 0]
    errors = confusion(list(learnt["truth"]), list(learnt["said"]), names)
    said = pd.crosstab(used["experiment"], used["said"]).reindex(columns=names, fill_value=0)
    truth = used["truth"].value_counts().reindex(names, fill_value=0)
    found = corrected_shares(said.to_numpy(), errors.to_numpy(), cfg.level, rng, cfg.resamples)
    rows = [
        {
            "origin": name,
            "n": len(used),
            "truth": truth[name] / max(1, len(used)),
            "said": said[name].sum() / max(1, len(used)),
            "corrected": one.estimate,
            "low": one.interval[0],
            "high": one.interval[1],
        }
        for name, one in zip(names, found, strict=True)
    ]
    return pd.DataFrame(rows)


def truth_findings(archive: SearchArchive, check: TruthCheck, cfg: OriginSettings, withheld: Withheld) -> list[Finding]:
    """How far the keywords can be trusted where the truth is known."""
    row = check.components.iloc[0]
    interval = permitted(check.kappa_interval, "cohen_kappa", len(check.origins), withheld)
    corrected = "; ".join(
        f"{one.origin}: said {100 * one.said:.0f}%, corrected {100 * one.corrected:.0f}% "
        f"({between((100 * one.low, 100 * one.high), 0)}), true {100 * one.truth:.0f}%"
        for one in check.shares.itertuples()
    )
    return [
        Finding(
            id=f"components.{archive.name}.labels",
            question="Do keywords find the components that the proposer put in?",
            answer=(
                f"{100 * row['precision']:.0f}% of the new components that keywords name are there, and "
                f"{100 * row['recall']:.0f}% of those that are there are named, in {row['programs']} programs. The "
                "keywords were written for this proposer's programs, so this is no measure of them on others'."
            ),
            verdict="measured",
            method="Keywords in a program's text that its parent's lacks, against the components that were drawn.",
            estimate=float(row["kappa"]),
            unit="Cohen's kappa",
            n=int(row["programs"]),
            tables=["archive_labels"],
            details={"kind": "truth", "outcome": "measured"},
        ),
        Finding(
            id=f"origins.{archive.name}.labels",
            question="Do words of the motivation tell where a component came from?",
            answer=(
                f"Cohen's kappa {number(check.kappa, 2)} ({between(interval, 2)}) over {len(check.origins)} "
                f"components. Shares over the even-numbered experiments, with the errors learnt on the odd "
                f"ones: {corrected}. "
                "Labels that hardly tell two origins apart leave their corrected shares wide open."
            ),
            verdict="measured",
            method=(
                "A paper named beside the component: cognition; the component is known to help against the weakness "
                "that is named: experience; else original. Shares corrected by the inverse of the error rates, both "
                "samples drawn anew. Kappa takes components of one program as independent."
            ),
            estimate=check.kappa,
            unit="Cohen's kappa",
            interval=interval,
            level=cfg.level,
            n=len(check.origins),
            tables=["archive_confusion", "archive_corrected"],
            details={"kind": "truth", "outcome": "measured"},
        ),
    ]
