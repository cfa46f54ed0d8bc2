"""Linear attention (arXiv 2006.16236): attention by a kernel, so that the past is a running sum.

    S_t = S_{t-1} + f(k_t) v_t^T,   z_t = z_{t-1} + f(k_t),   f(x) = elu(x) + 1
    o_t = S_t^T f(q_t) / (z_t . f(q_t))

As published; 4 D^2 parameters in the projections, without biases.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from kernels import decay_attention


class Mixer(nn.Module):
    """Linear attention."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:  # noqa: ARG002
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v = (
            part.unflatten(-1, (self.num_heads, -1))
            for part in (F.elu(self.q_proj(x)) + 1, F.elu(self.k_proj(x)) + 1, self.v_proj(x))
        )
        normaliser = (q * k.cumsum(1)).sum(-1, keepdim=True)
        o = decay_attention(q, k, v) / (normaliser + 1e-6)
        out: Tensor = self.o_proj(o.flatten(-2))
        return out
