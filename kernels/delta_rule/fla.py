"""The delta rule by flash-linear-attention (0.6). Imported only when chosen."""

from __future__ import annotations

from fla.ops.delta_rule import chunk_delta_rule
from fla.ops.gated_delta_rule import chunk_gated_delta_rule
from torch import Tensor


def delta_rule_fla(
    q_BTHK: Tensor,
    k_BTHK: Tensor,
    v_BTHV: Tensor,
    beta_BTH: Tensor,
    log_decay_BTH: Tensor | None,
    output_final_state: bool,
    scale: float,
) -> tuple[Tensor, Tensor | None]:
    """`kernels.delta_rule`; arguments already checked. The final state is float32, or None if not asked for."""
    # Our scale is always passed: the default there is K ** -0.5.
    options = {"scale": scale, "output_final_state": output_final_state}
    if log_decay_BTH is None:
        out, state = chunk_delta_rule(q_BTHK, k_BTHK, v_BTHV, beta_BTH, **options)
    else:
        out, state = chunk_gated_delta_rule(q_BTHK, k_BTHK, v_BTHV, log_decay_BTH, beta_BTH, **options)
    return out, state
