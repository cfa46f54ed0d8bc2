"""Checks of claims on tables of results: averages, filters, finalists, scales and sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from audit.claims.arms import UnusableError
from audit.claims.averages import AverageOf, DifferenceReference, average_of, difference_reference
from audit.claims.beats import MeansExceed, means_exceed
from audit.claims.filters import FilterMet, PassesClaimed, filter_met, passes_claimed
from audit.claims.logs import LogEnds, TrainingTokens, log_ends, training_tokens
from audit.claims.outcome import ClaimCheck, ClaimEvidence, Decision, Outcome
from audit.claims.selected import RankedTop, SelectedBest, ranked_top, selected_best
from audit.claims.setup import ConfigurationSize, SizeClass, configuration_size, size_class
from audit.claims.shape import TableShape, table_shape
from audit.claims.spread import Spread, spread
from audit.claims.transfer import SizeConfound, Transfer, size_confound, transfer
from audit.claims.wins import WinsOnMost, wins_on_most


def _check(parameters: type[Any], run: Callable[[ClaimEvidence, Any, Decision], Outcome]) -> ClaimCheck:
    """A check that answers "not testable" where the released tables do not hold what it needs."""

    def answered(evidence: ClaimEvidence, p: Any, decision: Decision) -> Outcome:
        try:
            return run(evidence, p, decision)
        except UnusableError as unusable:
            return Outcome(
                answer=f"Not testable here: {unusable}.", verdict="not_testable", method=f"None: {unusable}."
            )

    return ClaimCheck(parameters, answered)


TABLE_CHECKS: dict[str, ClaimCheck] = {
    "average_of": _check(AverageOf, average_of),
    "configuration_size": _check(ConfigurationSize, configuration_size),
    "difference_reference": _check(DifferenceReference, difference_reference),
    "filter_met": _check(FilterMet, filter_met),
    "log_ends": _check(LogEnds, log_ends),
    "means_exceed": _check(MeansExceed, means_exceed),
    "passes_claimed": _check(PassesClaimed, passes_claimed),
    "ranked_top": _check(RankedTop, ranked_top),
    "selected_best": _check(SelectedBest, selected_best),
    "size_class": _check(SizeClass, size_class),
    "size_confound": _check(SizeConfound, size_confound),
    "spread": _check(Spread, spread),
    "table_shape": _check(TableShape, table_shape),
    "training_tokens": _check(TrainingTokens, training_tokens),
    "transfer": _check(Transfer, transfer),
    "wins_on_most": _check(WinsOnMost, wins_on_most),
}
