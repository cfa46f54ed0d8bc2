"""Mamba-2 (arXiv 2405.21060): a state-space model whose decay is one number a head.

    S_t = exp(-A dt_t) S_{t-1} + dt_t k_t v_t^T,   dt_t = softplus(a_proj(x_t) + dt_bias)
    o_t = S_t^T q_t + D v_t

In the paper's letters q is C, k is B, v is x and the gate is z; q, k and v pass a short convolution with SiLU,
all heads share q and k, and the output is gated by silu(g_proj(x)) and then normalised over all features.
Departures: the inner width is D, not 2 D, with state size D/2, which gives DeltaNet's 4 D^2 parameters; A and
dt_bias start evenly spread over the published ranges, where the original draws them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels import decay_attention, fir


class Mixer(nn.Module):
    """Mamba-2."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:  # noqa: ARG002
        super().__init__()
        if hidden_size % (2 * num_heads):
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of 2 x num_heads {num_heads}")
        self.num_heads, state_size = num_heads, hidden_size // 2
        self.q_proj = nn.Linear(hidden_size, state_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, state_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.a_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.A_log = nn.Parameter(torch.linspace(1, 16, num_heads).log())
        self.dt_bias = nn.Parameter(torch.logspace(-3, -1, num_heads).expm1().log())
        self.D = nn.Parameter(torch.ones(num_heads))
        self.q_conv1d = nn.Conv1d(state_size, state_size, 4, groups=state_size)
        self.k_conv1d = nn.Conv1d(state_size, state_size, 4, groups=state_size)
        self.v_conv1d = nn.Conv1d(hidden_size, hidden_size, 4, groups=hidden_size)
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_norm = nn.RMSNorm(hidden_size, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v = short_convolution(
            [self.q_proj(x), self.k_proj(x), self.v_proj(x)], [self.q_conv1d, self.k_conv1d, self.v_conv1d]
        )
        q, k = (part.unsqueeze(2).expand(-1, -1, self.num_heads, -1) for part in (q, k))
        v = v.unflatten(-1, (self.num_heads, -1))
        dt = F.softplus(self.a_proj(x) + self.dt_bias)
        o = decay_attention(q, k, v * dt[..., None], -self.A_log.exp() * dt)
        o = (o + self.D[:, None] * v).flatten(-2)
        out: Tensor = self.o_proj(self.o_norm(o * F.silu(self.g_proj(x))))
        return out


def short_convolution(parts: list[Tensor], convolutions: list[nn.Conv1d]) -> tuple[Tensor, ...]:
    """Causal depthwise convolution, bias and SiLU of each part [B, T, C], in one pass over all channels."""
    taps = torch.cat([convolution.weight.squeeze(1) for convolution in convolutions])
    bias = torch.cat([convolution.get_parameter("bias") for convolution in convolutions])
    (out,) = fir(torch.cat(parts, dim=-1), [taps])
    return torch.split(F.silu(out + bias), [part.shape[-1] for part in parts], dim=-1)
