"""Checks of claims on a search: its records, tree, policy, fitness, curves, sizes and components."""

from __future__ import annotations

from audit.claims.baseline import BASELINE_CHECKS
from audit.claims.components import COMPONENT_CHECKS
from audit.claims.curve import CURVE_CHECKS
from audit.claims.fitness import FITNESS_CHECKS
from audit.claims.judge import JUDGE_CHECKS
from audit.claims.motifs import MOTIF_CHECKS
from audit.claims.origins import ORIGIN_CHECKS
from audit.claims.outcome import ClaimCheck
from audit.claims.policy import POLICY_CHECKS
from audit.claims.records import RECORD_CHECKS
from audit.claims.sizes import SIZE_CHECKS

SEARCH_CHECKS: dict[str, ClaimCheck] = {
    **RECORD_CHECKS,
    **POLICY_CHECKS,
    **FITNESS_CHECKS,
    **JUDGE_CHECKS,
    **BASELINE_CHECKS,
    **CURVE_CHECKS,
    **COMPONENT_CHECKS,
    **SIZE_CHECKS,
    **MOTIF_CHECKS,
    **ORIGIN_CHECKS,
}
