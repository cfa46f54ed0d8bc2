"""Linear attention with decay by flash-linear-attention (0.6). Imported only when chosen."""

from __future__ import annotations

from fla.ops.gla import chunk_gla
from fla.ops.simple_gla import chunk_simple_gla
from torch import Tensor


def decay_attention_fla(
    q_BTHK: Tensor, k_BTHK: Tensor, v_BTHV: Tensor, log_decay: Tensor | None, scale: float
) -> Tensor:
    """`kernels.decay_attention`; `log_decay` is None, [B, T, H] or [B, T, H, K]; arguments already checked."""
    per_channel = log_decay is not None and log_decay.dim() == 4
    form = chunk_gla if per_channel else chunk_simple_gla
    # Our scale is always passed: the default there is K ** -0.5.
    out_BTHV: Tensor = form(q_BTHK, k_BTHK, v_BTHV, log_decay, scale=scale)[0]
    return out_BTHV
