"""Causal softmax attention (arXiv 1706.03762) with rotary positions (arXiv 2104.09864).

    o_t = sum_{j<=t} softmax_j(q_t . k_j / sqrt(K)) v_j,   q and k rotated by their position

4 D^2 parameters in the projections, without biases.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Mixer(nn.Module):
    """Softmax attention."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:  # noqa: ARG002
        super().__init__()
        if hidden_size % (2 * num_heads):
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of 2 x num_heads {num_heads}")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v = (
            projection(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        o = F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True)
        out: Tensor = self.o_proj(o.transpose(1, 2).flatten(-2))
        return out


def rotate(x: Tensor) -> Tensor:
    """Each pair of features (i, i + K/2) of x [B, H, T, K] turned by the angle t * 10000^(-2i/K)."""
    length, half = x.shape[2], x.shape[3] // 2
    frequency = 10000 ** -(torch.arange(half, device=x.device) / half)
    angle = torch.outer(torch.arange(length, device=x.device), frequency)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.split(half, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
