"""The delta rule of published programs, served by `kernels.delta_rule`.

Shapes: B batch, H heads, T time, K key, V value features, N chunks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

import kernels


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    *,
    chunk_size: int,
    decay: Tensor | None = None,
    inverse_dtype: torch.dtype | None = None,
    detach_state: bool = False,
) -> tuple[Tensor, Tensor]:
    """Outputs [B, H, T, V] and the state [B, H, K, V] after the last token, with heads before time.

    Args:
        q, k: queries and keys [B, H, T, K], normalised.
        v: values [B, H, T, V].
        beta: step sizes [B, H, T].
        chunk_size: tokens of a chunk.
        decay: what the state is multiplied by where it leaves a chunk: [B, H], or [B, H, T] for its mean over the
            chunk, with zeros in the place of tokens that the last chunk lacks.
        inverse_dtype: as in `kernels.delta_rule`. No narrower than `v`, it rounds nothing.
        detach_state: whether the returned state carries no gradient.

    Raises ValueError as `kernels.delta_rule`, and for a decay of another shape.
    """
    T = v.shape[2]
    chunks = -(-T // chunk_size)
    if inverse_dtype is not None and torch.finfo(inverse_dtype).eps <= torch.finfo(v.dtype).eps:
        inverse_dtype = None
    out_BTHV, state_BHKV = kernels.delta_rule(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        beta.transpose(1, 2),
        chunk_decay=None if decay is None else _chunk_decay(decay, T, chunks, chunk_size),
        inverse_dtype=inverse_dtype,
        output_final_state=True,
        chunk_size=chunk_size,
    )
    return out_BTHV.transpose(1, 2), state_BHKV.detach() if detach_state else state_BHKV


def _chunk_decay(decay: Tensor, T: int, chunks: int, chunk_size: int) -> Tensor:
    """Factors [B, N, H]."""
    if decay.dim() == 2:
        return decay[:, None].expand(-1, chunks, -1)
    if decay.dim() != 3 or decay.shape[2] != T:
        raise ValueError(f"decay must be [B, H] or [B, H, T], not of shape {list(decay.shape)}")
    padded_BHT = F.pad(decay, (0, chunks * chunk_size - T))
    mean_BHN: Tensor = padded_BHT.unflatten(2, (chunks, chunk_size)).mean(3)
    return mean_BHN.transpose(1, 2)
