"""delta_rule_short_conv_9dec.

linear_short_conv_b3e6 has a weakness: Forgets associations made far back when several must be held at once.
This design adds a delta rule that corrects what a key already holds and a short convolution with three taps
on queries, keys and values. It drops plain linear attention that only adds to its state. The whole: a delta
rule that corrects what a key already holds, one learned rate of forgetting a head, queries and keys of unit
length, a short convolution with three taps on queries, keys and values, an RMS norm of each head, a direct
path from values to the output.
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
        self.decay_logit = nn.Parameter(torch.linspace(3, 6, num_heads))
        self.q_conv1d = nn.Conv1d(hidden_size, hidden_size, 3, groups=hidden_size, bias=False)
        self.k_conv1d = nn.Conv1d(hidden_size, hidden_size, 3, groups=hidden_size, bias=False)
        self.v_conv1d = nn.Conv1d(hidden_size, hidden_size, 3, groups=hidden_size, bias=False)
        self.value_scale = nn.Parameter(torch.full((num_heads, 1), 0.5))
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        taps = torch.cat([each.weight.squeeze(1) for each in (self.q_conv1d, self.k_conv1d, self.v_conv1d)])
        q, k, v = F.silu(fir(torch.cat([q, k, v], dim=-1), [taps])[0]).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in (q, k, v))
        q, k = unit_length(q), unit_length(k)
        beta = self.b_proj(x).sigmoid()
        log_decay = F.logsigmoid(self.decay_logit).expand(*x.shape[:2], -1)
        o = delta_rule(q, k, v, beta, log_decay, scale=self.head_dim**-0.5)
        o = o + self.value_scale * v
        o = self.o_norm(o)
        out: Tensor = self.o_proj(o.flatten(-2))
        return out


def unit_length(x: Tensor) -> Tensor:
    """x [..., K] scaled to length 1."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
