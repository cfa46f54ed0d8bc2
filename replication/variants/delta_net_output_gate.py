"""DeltaNet (arXiv 2406.06484) with its normalised output gated by silu(g_proj(x)), as in Gated DeltaNet.

It isolates the output gate from the decay; the gate adds D^2 parameters.
Expected: a little better than DeltaNet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels import delta_rule, fir, gated_norm


class Mixer(nn.Module):
    """DeltaNet with an output gate."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:  # noqa: ARG002
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of num_heads {num_heads}")
        self.num_heads, self.head_dim = num_heads, hidden_size // num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.k_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.v_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.b_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.q_conv1d = nn.Conv1d(hidden_size, hidden_size, 4, groups=hidden_size, bias=False)
        self.k_conv1d = nn.Conv1d(hidden_size, hidden_size, 4, groups=hidden_size, bias=False)
        self.v_conv1d = nn.Conv1d(hidden_size, hidden_size, 4, groups=hidden_size, bias=False)
        self.g_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v = short_convolution(
            [self.q_proj(x), self.k_proj(x), self.v_proj(x)], [self.q_conv1d, self.k_conv1d, self.v_conv1d]
        )
        q, k, v, gate = (part.unflatten(-1, (self.num_heads, -1)) for part in (q, k, v, self.g_proj(x)))
        beta = self.b_proj(x).sigmoid()
        o = delta_rule(unit_length(q), unit_length(k), v, beta, scale=self.head_dim**-0.5)
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
