"""A running mean by a matrix of T x T."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Mixer(nn.Module):
    """Causal mean as a product with a triangular matrix."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:  # noqa: ARG002
        super().__init__()
        self.in_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        average = torch.ones(x.shape[1], x.shape[1], dtype=x.dtype, device=x.device).tril()
        average = average / average.sum(1, keepdim=True)
        out: Tensor = self.out_proj(x + average @ self.in_proj(x))
        return out
