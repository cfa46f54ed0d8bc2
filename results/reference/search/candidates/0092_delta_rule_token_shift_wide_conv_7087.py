"""delta_rule_token_shift_wide_conv_7087.

delta_rule_gated_decay_1d54 has a weakness: Keys that span several tokens are mixed up, and their values blur.
This design adds a token shift that blends each input with the one before and a branch of values filtered with
fifteen taps and a router that weighs the branches for each token and head and a learned temperature of the
router for each head. It drops a short convolution with four taps on queries, keys and values. The whole: a
delta rule that corrects what a key already holds, forgetting at a rate that each token sets, queries and keys
of unit length, a token shift that blends each input with the one before, a branch of values filtered with
fifteen taps, a router that weighs the branches for each token and head, a learned temperature of the router
for each head, an RMS norm of each head, a direct path from values to the output.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels import delta_rule, fir


class Mixer(nn.Module):
    """A token mixer."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.a_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.A_log = nn.Parameter(torch.linspace(1, 16, num_heads).log())
        self.dt_bias = nn.Parameter(torch.logspace(-3, -1, num_heads).expm1().log())
        self.shift = nn.Parameter(torch.full((hidden_size,), 0.3))
        self.wide_filter = nn.Parameter(starting_filter(hidden_size, 15))
        self.router = nn.Linear(hidden_size, 2 * num_heads)
        self.log_temperature = nn.Parameter(torch.zeros(num_heads, 1))
        self.value_scale = nn.Parameter(torch.full((num_heads, 1), 0.5))
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        x = x + self.shift * (F.pad(x[:, :-1], (0, 0, 1, 0)) - x)
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        q, k, v = F.silu(q), F.silu(k), F.silu(v)
        branches = fir(v, [self.wide_filter])
        branches = [branch.unflatten(-1, (self.num_heads, -1)) for branch in branches]
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in (q, k, v))
        q, k = unit_length(q), unit_length(k)
        beta = self.b_proj(x).sigmoid()
        log_decay = -self.A_log.exp() * F.softplus(self.a_proj(x) + self.dt_bias)
        o = delta_rule(q, k, v, beta, log_decay, scale=self.head_dim**-0.5)
        weights = self.router(x).unflatten(-1, (self.num_heads, 2))
        weights = (weights / self.log_temperature.exp()).softmax(-1)
        o = sum(share[..., None] * branch for share, branch in zip(weights.unbind(-1), [o, *branches], strict=True))
        o = o + self.value_scale * v
        o = self.o_norm(o)
        out: Tensor = self.o_proj(o.flatten(-2))
        return out


def unit_length(x: Tensor) -> Tensor:
    """x [..., K] scaled to length 1."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


def starting_filter(channels: int, taps: int) -> Tensor:
    """A filter [C, W] that passes the current token, with a little noise to tell the taps apart."""
    return F.pad(torch.ones(channels, 1), (taps - 1, 0)) + 0.02 * torch.randn(channels, taps)
