"""A sequence cut into chunks, chunk-major, so that one chunk of every head is a contiguous slice.

Shapes: B batch, T time, H heads, N chunks, C chunk size, D features.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def split_chunks(x_BTHD: Tensor, chunk_size: int) -> Tensor:
    """[B, T, H, D] -> [N*B*H, C, D]; a ragged end is filled with zeros."""
    B, T, H, D = x_BTHD.shape
    count = -(-T // chunk_size)
    if count * chunk_size != T:
        x_BTHD = F.pad(x_BTHD, (0, 0, 0, 0, 0, count * chunk_size - T))
    x_BNCHD = x_BTHD.reshape(B, count, chunk_size, H, D)
    return x_BNCHD.permute(1, 0, 3, 2, 4).reshape(count * B * H, chunk_size, D)


def join_chunks(x_MCD: Tensor, batch: int, length: int, heads: int) -> Tensor:
    """[N*B*H, C, D] -> [B, T, H, D], the inverse of `split_chunks` (M = N*B*H)."""
    _, C, D = x_MCD.shape
    x_NBHCD = x_MCD.reshape(-1, batch, heads, C, D)
    return x_NBHCD.permute(1, 0, 3, 2, 4).reshape(batch, -1, heads, D)[:, :length]
