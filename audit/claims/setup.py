"""Stated sizes of models against released parameter counts, and against what a stated configuration implies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from audit.claims.arms import Column, need
from audit.claims.outcome import ClaimEvidence, Decision, Outcome
from audit.consistency.values import size
from audit.finding import Verdict
from audit.sheets import Sheet
from audit.wording import count, number, plural
from replication.settings import require


def parameter_counts(sheet: Sheet, column: str) -> pd.Series:
    """Sizes such as "1.5M" as parameter counts [rows], float64; NaN where the cell is no size."""

    amounts = [size(cell) for cell in sheet.column(column)]
    return pd.Series([math.nan if amount is None else amount for amount in amounts], index=sheet.cells.index)


@dataclass(frozen=True, kw_only=True)
class SizeClass:
    """Released sizes against a stated class.

    stated: parameters of the class; None: the paper states no limit. tolerance: a size belongs to a class if it differs
    by this share at most. also_stated: classes that the paper gives elsewhere. embeddings: readings of how many of the
    released parameters the class does not count, 0 among them, since a class often leaves embeddings out. open_part:
    what else the claim says that no released data can show; empty: nothing.
    """

    sizes: Column
    stated: float | None
    tolerance: float
    also_stated: tuple[float, ...]
    embeddings: tuple[float, ...]
    open_part: str


def size_class(evidence: ClaimEvidence, p: SizeClass, decision: Decision) -> Outcome:
    """Are the released models of the stated size?"""
    sheet = evidence.sheets[p.sizes.sheet]
    sizes = parameter_counts(sheet, p.sizes.column)
    known = sizes.dropna()
    need(not known.empty, f"{sheet.file} has no sizes in the column {p.sizes.column}")
    require(bool(p.embeddings) and p.embeddings[0] == 0.0, "embeddings: expected a list that starts with 0")
    classes = [*([p.stated] if p.stated is not None else []), *p.also_stated]
    inside = {stated: [_inside(known, stated, less, p.tolerance) for less in p.embeddings] for stated in classes}
    described = "; ".join(
        f"{_spread(amounts)} lie within {100 * p.tolerance:g}% of {_millions(of)}" for of, amounts in inside.items()
    )
    return Outcome(
        answer=(
            f"{len(known)} released sizes run from {_millions(known.min())} to {_millions(known.max())}, median "
            f"{_millions(float(known.median()))}; {described}."
            + (f" {plural(len(sizes) - len(known), 'program')} have no size." if len(known) < len(sizes) else "")
            + (" The paper states no limit, and what was removed was not released." if p.stated is None else "")
            + (f" Not shown by anything released: {p.open_part}." if p.open_part else "")
        ),
        verdict="not_testable" if p.stated is None else _class_verdict(inside[p.stated], len(sizes), p.open_part),
        method=(
            "Released parameter counts compared with the stated class, as they are and less the embeddings that a "
            f"class may leave out ({', '.join(_millions(less) for less in p.embeddings)}). Counts, so no interval."
        ),
        estimate=float(known.median()) / 1e6,
        unit="million parameters, median",
        n=len(known),
        rows=pd.DataFrame({"file": sheet.file, "row": sizes.index, "parameters": sizes}),
        details={"within": {f"{of:g}": amounts for of, amounts in inside.items()}, "largest": float(known.max())},
    )


def _inside(sizes: pd.Series, stated: float, less: float, tolerance: float) -> int:
    return int((((sizes - less) / stated - 1.0).abs() <= tolerance).sum())


def _spread(amounts: Sequence[int]) -> str:
    first, rest = amounts[0], max(amounts[1:], default=amounts[0])
    return f"{first}" + (f" ({rest} at most if embeddings are not counted)" if len(amounts) > 1 else "")


def _class_verdict(amounts: Sequence[int], sizes: int, open_part: str) -> Verdict:
    """Of the number inside the class by each reading: all by all, none by any."""
    if not any(amounts):
        return "contradicted"
    return "supported" if min(amounts) == sizes and not open_part else "inconclusive"


def _millions(parameters: float) -> str:
    return f"{number(parameters / 1e6, 1)} million"


@dataclass(frozen=True, kw_only=True)
class FirstLoss:
    """The loss before training, from which the vocabulary can be had.

    step: the log's first step, in the sheet `sheet` with the columns step and loss. output_sd: SD with which the output
    layer starts, on normalised states.
    """

    sheet: str
    step: int
    output_sd: float


@dataclass(frozen=True, kw_only=True)
class ConfigurationSize:
    """Parameters that a stated configuration implies, in every reading of what it leaves open.

    mixer: weights of a layer's token mixer, in units of hidden^2 (4: query, key, value, output). mlps: reading -> width
    of an MLP of three matrices. vocabularies: tokenizer -> entries. embeddings: matrices of vocabulary x hidden, 1 tied
    and 2 untied. Norms, gates and short convolutions, under 1%, are left out. stated, tolerance: as in SizeClass.
    """

    layers: int
    hidden: int
    mixer: float
    mlps: dict[str, int]
    vocabularies: dict[str, int]
    embeddings: tuple[int, ...]
    stated: float
    tolerance: float
    released: Column | None
    first_loss: FirstLoss | None


def configuration_size(evidence: ClaimEvidence, p: ConfigurationSize, decision: Decision) -> Outcome:
    """Does the stated configuration make a model of the stated size?"""
    readings = pd.DataFrame(
        [
            {
                "mlp": mlp,
                "tokenizer": tokenizer,
                "embeddings": matrices,
                "parameters": _implied(p, width, entries, matrices),
            }
            for mlp, width in p.mlps.items()
            for tokenizer, entries in p.vocabularies.items()
            for matrices in p.embeddings
        ]
    )
    readings["fits"] = (readings["parameters"] / p.stated - 1.0).abs() <= p.tolerance
    fits = int(readings["fits"].sum())
    verdict: Verdict = "supported" if fits == len(readings) else "inconclusive" if fits else "contradicted"
    low, high = (_millions(float(limit)) for limit in (readings["parameters"].min(), readings["parameters"].max()))
    sentence, details = _vocabulary(evidence, p)
    return Outcome(
        answer=(
            f"{fits} of {len(readings)} readings of the configuration make a model within {100 * p.tolerance:g}% of "
            f"{_millions(p.stated)}; they run from {low} to {high}. The vocabulary and the MLP's width were not "
            f"stated. {sentence}This is arithmetic on the stated numbers; which configuration was trained it does not "
            "show."
        ),
        verdict=verdict,
        method=(
            f"layers x ({p.mixer:g} hidden^2 + 3 hidden x MLP width) + embeddings x vocabulary x hidden, for each "
            "reading of what was not stated; norms, gates and short convolutions left out."
        ),
        n=len(readings),
        rows=readings,
        details=details,
    )


def _implied(p: ConfigurationSize, width: int, vocabulary: int, matrices: int) -> float:
    layer = p.mixer * p.hidden**2 + 3.0 * p.hidden * width
    return p.layers * layer + float(matrices) * vocabulary * p.hidden


def _vocabulary(evidence: ClaimEvidence, p: ConfigurationSize) -> tuple[str, dict[str, object]]:
    """The vocabulary that the logs' first loss implies: an untrained model's mean loss is ln V + hidden sd^2 / 2."""
    sentence, details = "", dict[str, object]()
    if p.first_loss is not None:
        sheet = evidence.sheets[p.first_loss.sheet]
        first = sheet.numbers("loss")[sheet.numbers("step") == p.first_loss.step].dropna()
        if len(first):
            vocabulary = math.exp(float(first.median()) - p.hidden * p.first_loss.output_sd**2 / 2.0)
            sentence += (
                f"The median first loss of {plural(len(first), 'log')} would come from about "
                f"{count(round(vocabulary, -2))} tokens, if the output layer starts with an SD of "
                f"{p.first_loss.output_sd:g} on normalised states. "
            )
            details["vocabulary"] = vocabulary
    if p.released is not None:
        sizes = parameter_counts(evidence.sheets[p.released.sheet], p.released.column).dropna()
        if len(sizes):
            sentence += f"The smallest released model has {_millions(float(sizes.min()))}. "
            details["smallest_released"] = float(sizes.min())
    return sentence, details
