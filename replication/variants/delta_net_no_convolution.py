"""DeltaNet (arXiv 2406.06484) without the short convolutions on q, k and v.

An ablation: a head can no longer bind a token to the one before it in a single layer.
Expected: clearly worse than DeltaNet.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from kernels import delta_rule


class Mixer(nn.Module):
    """DeltaNet without short convolutions."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:  # noqa: ARG002
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of num_heads {num_heads}")
        self.num_heads, self.head_dim = num_heads, hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v = (
            F.silu(projection(x)).unflatten(-1, (self.num_heads, -1))
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        beta = self.b_proj(x).sigmoid()
        o = delta_rule(unit_length(q), unit_length(k), v, beta, scale=self.head_dim**-0.5)
        out: Tensor = self.o_proj(self.o_norm(o).flatten(-2))
        return out


def unit_length(x: Tensor) -> Tensor:
    """x [..., K] scaled to length 1."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
