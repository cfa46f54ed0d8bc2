"""Gated DeltaNet (arXiv 2412.06464): the delta rule on a state that also fades.

    S_t = a_t S_{t-1} + beta_t k_t (v_t - a_t S_{t-1}^T k_t)^T,   o_t = S_t^T q_t / sqrt(K)
    a_t = exp(-A softplus(a_proj(x_t) + dt_bias))

The output is normalised and gated by silu(g_proj(x)). As in the published layer, value heads are twice as
wide as key heads; with keys of D/2 and values of D in all, the projections have DeltaNet's
4 D^2 parameters.
Departure: A and dt_bias start evenly spread over the published ranges, where the original draws them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels import delta_rule, fir, gated_norm


class Mixer(nn.Module):
    """Gated DeltaNet."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:  # noqa: ARG002
        super().__init__()
        if hidden_size % (2 * num_heads):
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of 2 x num_heads {num_heads}")
        self.num_heads, key_size = num_heads, hidden_size // 2
        self.scale = (key_size // num_heads) ** -0.5
        self.q_proj = nn.Linear(hidden_size, key_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, key_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.a_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.A_log = nn.Parameter(torch.linspace(1, 16, num_heads).log())
        self.dt_bias = nn.Parameter(torch.logspace(-3, -1, num_heads).expm1().log())
        self.q_conv1d = nn.Conv1d(key_size, key_size, 4, groups=key_size, bias=False)
        self.k_conv1d = nn.Conv1d(key_size, key_size, 4, groups=key_size, bias=False)
        self.v_conv1d = nn.Conv1d(hidden_size, hidden_size, 4, groups=hidden_size, bias=False)
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_norm = nn.RMSNorm(hidden_size // num_heads, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v = short_convolution(
            [self.q_proj(x), self.k_proj(x), self.v_proj(x)], [self.q_conv1d, self.k_conv1d, self.v_conv1d]
        )
        q, k, v, gate = (part.unflatten(-1, (self.num_heads, -1)) for part in (q, k, v, self.g_proj(x)))
        beta = self.b_proj(x).sigmoid()
        log_decay = -self.A_log.exp() * F.softplus(self.a_proj(x) + self.dt_bias)
        o = delta_rule(unit_length(q), unit_length(k), v, beta, log_decay, scale=self.scale)
        out: Tensor = self.o_proj(gated_norm(o, gate, self.o_norm.weight, eps=1e-5).flatten(-2))
        return out


def short_convolution(parts: list[Tensor], convolutions: list[nn.Conv1d]) -> tuple[Tensor, ...]:
    """Causal depthwise convolution and SiLU of each part [B, T, C], in one pass over all channels."""
    taps = torch.cat([convolution.weight.squeeze(1) for convolution in convolutions])
    (out,) = fir(torch.cat(parts, dim=-1), [taps])
    return torch.split(F.silu(out), [part.shape[-1] for part in parts], dim=-1)


def unit_length(x: Tensor) -> Tensor:
    """x [..., K] scaled to length 1."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
