"""Gated linear attention (GLA, arXiv 2312.06635): every key channel fades at its own, data-dependent rate.

    S_t = diag(a_t) S_{t-1} + k_t v_t^T,   o_t = S_t^T q_t / sqrt(K),   a_t = sigmoid(gk_proj(x_t))^(1/16)

The published layer: a low-rank gk_proj, keys of D/2 and values of D in all, no short convolution, and an
output that is normalised and gated by silu(g_proj(x)). The projections have 4 D^2 parameters besides gk_proj's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from kernels import decay_attention, gated_norm

GATE_RANK = 16
GATE_TEMPERATURE = 16


class Mixer(nn.Module):
    """Gated linear attention."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:  # noqa: ARG002
        super().__init__()
        if hidden_size % (2 * num_heads):
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of 2 x num_heads {num_heads}")
        self.num_heads, key_size = num_heads, hidden_size // 2
        self.scale = (key_size // num_heads) ** -0.5
        self.q_proj = nn.Linear(hidden_size, key_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, key_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.gk_proj = nn.Sequential(nn.Linear(hidden_size, GATE_RANK, bias=False), nn.Linear(GATE_RANK, key_size))
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_norm = nn.RMSNorm(hidden_size // num_heads, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        log_decay = F.logsigmoid(self.gk_proj(x)) / GATE_TEMPERATURE
        q, k, v, log_decay, gate = (
            part.unflatten(-1, (self.num_heads, -1))
            for part in (self.q_proj(x), self.k_proj(x), self.v_proj(x), log_decay, self.g_proj(x))
        )
        o = decay_attention(q, k, v, log_decay, scale=self.scale)
        out: Tensor = self.o_proj(gated_norm(o, gate, self.o_norm.weight, eps=1e-5).flatten(-2))
        return out
