"""DeltaNet (arXiv 2406.06484) beside a short and a long causal filter of its values, mixed by a router.

For each token and head, a softmax weighs four branches: the delta rule, the values filtered with 3 and with
31 taps, and the values themselves. Automated searches report designs of this family to beat DeltaNet
(arXiv 2507.18074). Expected: better than DeltaNet where local structure matters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels import delta_rule, fir


class Mixer(nn.Module):
    """DeltaNet, two filters of the values and the values, mixed."""

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
        self.short_filter = nn.Parameter(starting_filter(hidden_size, 3))
        self.long_filter = nn.Parameter(starting_filter(hidden_size, 31))
        self.router = nn.Linear(hidden_size, 4 * num_heads)
        self.o_norm = nn.RMSNorm(self.head_dim, eps=1e-5)
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v = short_convolution(
            [self.q_proj(x), self.k_proj(x), self.v_proj(x)], [self.q_conv1d, self.k_conv1d, self.v_conv1d]
        )
        short, long = fir(v, [self.short_filter, self.long_filter])
        q, k, v, short, long = (part.unflatten(-1, (self.num_heads, -1)) for part in (q, k, v, short, long))
        beta = self.b_proj(x).sigmoid()
        delta = delta_rule(unit_length(q), unit_length(k), v, beta, scale=self.head_dim**-0.5)
        weights = self.router(x).unflatten(-1, (self.num_heads, 4)).softmax(-1)
        branches = zip(weights.unbind(-1), [delta, short, long, v], strict=True)
        mixed = torch.stack([weight[..., None] * branch for weight, branch in branches]).sum(0)
        out: Tensor = self.o_proj(self.o_norm(mixed).flatten(-2))
        return out


def short_convolution(parts: list[Tensor], convolutions: list[nn.Conv1d]) -> tuple[Tensor, ...]:
    """Causal depthwise convolution and SiLU of each part [B, T, C], in one pass over all channels."""
    taps = torch.cat([convolution.weight.squeeze(1) for convolution in convolutions])
    (out,) = fir(torch.cat(parts, dim=-1), [taps])
    return torch.split(F.silu(out), [part.shape[-1] for part in parts], dim=-1)


def starting_filter(channels: int, taps: int) -> Tensor:
    """A filter [C, W] that passes the current token, with a little noise to tell the taps apart."""
    return F.pad(torch.ones(channels, 1), (taps - 1, 0)) + 0.02 * torch.randn(channels, taps)


def unit_length(x: Tensor) -> Tensor:
    """x [..., K] scaled to length 1."""
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
