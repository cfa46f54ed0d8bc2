"""Linear attention with a fixed decay for each head (RetNet, arXiv 2307.08621), without RetNet's rotation.

    S_t = g_h S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t / sqrt(K),   g_h = 1 - 2^(-5-h)

The output is normalised and gated by silu(g_proj(x)). The simplest forgetting there is: it does not depend on
the data.
Expected: worse than DeltaNet, better than linear attention without decay.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels import decay_attention, gated_norm


class Mixer(nn.Module):
    """Retention without rotation."""

    log_decay: Tensor

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:  # noqa: ARG002
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of num_heads {num_heads}")
        self.num_heads, self.head_dim = num_heads, hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.register_buffer("log_decay", torch.log1p(-(2.0 ** -(5 + torch.arange(num_heads)))))
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v, gate = (
            projection(x).unflatten(-1, (self.num_heads, -1))
            for projection in (self.q_proj, self.k_proj, self.v_proj, self.g_proj)
        )
        o = decay_attention(q, k, v, self.log_decay.expand(*x.shape[:2], -1), scale=self.head_dim**-0.5)
        out: Tensor = self.o_proj(gated_norm(o, gate, self.o_norm.weight, eps=1e-5).flatten(-2))
        return out
