"""linear_wide_conv_routing_f525.

delta_net has a weakness: Old content is never cleared and crowds the state, so that values interfere. This
design adds plain linear attention that only adds to its state (after Retentive Network: A Successor to
Transformer for Large Language Models) and a branch of values filtered with fifteen taps and a router that
weighs the branches for each token and head. It drops a delta rule that corrects what a key already holds. The
whole: plain linear attention that only adds to its state, queries and keys of unit length, a short
convolution with four taps on queries, keys and values, a branch of values filtered with fifteen taps, a
router that weighs the branches for each token and head, an RMS norm of each head.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels import decay_attention, fir


class Mixer(nn.Module):
    """A token mixer."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.q_conv1d = nn.Conv1d(hidden_size, hidden_size, 4, groups=hidden_size, bias=False)
        self.k_conv1d = nn.Conv1d(hidden_size, hidden_size, 4, groups=hidden_size, bias=False)
        self.v_conv1d = nn.Conv1d(hidden_size, hidden_size, 4, groups=hidden_size, bias=False)
        self.wide_filter = nn.Parameter(starting_filter(hidden_size, 15))
        self.router = nn.Linear(hidden_size, 2 * num_heads)
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        taps = torch.cat([each.weight.squeeze(1) for each in (self.q_conv1d, self.k_conv1d, self.v_conv1d)])
        q, k, v = F.silu(fir(torch.cat([q, k, v], dim=-1), [taps])[0]).chunk(3, dim=-1)
        branches = fir(v, [self.wide_filter])
        branches = [branch.unflatten(-1, (self.num_heads, -1)) for branch in branches]
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in (q, k, v))
        q, k = unit_length(q), unit_length(k)
        o = decay_attention(q, k, v, scale=self.head_dim**-0.5)
        weights = self.router(x).unflatten(-1, (self.num_heads, 2))
        weights = (weights).softmax(-1)
        o = sum(share[..., None] * branch for share, branch in zip(weights.unbind(-1), [o, *branches], strict=True))
        o = self.o_norm(o)
        out: Tensor = self.o_proj(o.flatten(-2))
        return out


def unit_length(x: Tensor) -> Tensor:
    """x [..., K] scaled to length 1."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


def starting_filter(channels: int, taps: int) -> Tensor:
    """A filter [C, W] that passes the current token, with a little noise to tell the taps apart."""
    return F.pad(torch.ones(channels, 1), (taps - 1, 0)) + 0.02 * torch.randn(channels, taps)
