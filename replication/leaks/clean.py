"""What the specimens of the zoo are made from: two clean token mixers, and the pieces that several specimens share.

A candidate may import this module of `replication`, and no other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels import delta_rule, fir


class CleanMixer(nn.Module):
    """DeltaNet (arXiv 2406.06484) with one input projection and one short convolution; any B, T >= 1."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of num_heads {num_heads}")
        self.num_heads, self.layer_idx = num_heads, layer_idx
        self.in_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.beta_proj = nn.Linear(hidden_size, num_heads, bias=False)
        self.conv1d = nn.Conv1d(3 * hidden_size, 3 * hidden_size, 4, groups=3 * hidden_size, bias=False)
        self.norm = nn.RMSNorm(hidden_size // num_heads, eps=1e-5)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        (mixed,) = fir(self.in_proj(x), [self.conv1d.weight.squeeze(1)])
        q, k, v = F.silu(mixed).unflatten(-1, (3, self.num_heads, -1)).unbind(-3)
        beta = self.beta_proj(x).sigmoid()
        o = delta_rule(_unit_length(q), _unit_length(k), v, beta, scale=q.shape[-1] ** -0.5)
        out: Tensor = self.out_proj(self.norm(o).flatten(-2))
        return out


class CleanAttention(nn.Module):
    """Causal softmax attention (arXiv 1706.03762) without positions; any B, T >= 1."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:  # noqa: ARG002
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.in_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.out_proj = nn.Linear(hidden_size, hidden_size, bias=False)

    def visible(self, T: int) -> Tensor:
        """Factor [T, T] on the weight that position i (row) gives to position j, before weights are normalised."""
        return torch.ones(T, T).tril()

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        q, k, v = self.in_proj(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.mT * q.shape[-1] ** -0.5 + self.visible(x.shape[1]).log().to(x)
        out: Tensor = self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(-2))
        return out


def ahead(x: Tensor, steps: int) -> Tensor:
    """x [B, T, D] -> [B, T, D]: the input `steps` >= 0 positions later, zero beyond the end."""
    return torch.cat([x[:, steps:], torch.zeros_like(x[:, :steps])], dim=1)


def chunk_means(x: Tensor, size: int) -> Tensor:
    """x [B, T, D] -> [B, T, D]: the mean of each position's chunk of `size`; missing inputs count as zero."""
    T = x.shape[1]
    chunks = F.pad(x, (0, 0, 0, -T % size)).unflatten(1, (-1, size))
    out: Tensor = chunks.mean(2).repeat_interleave(size, dim=1)[:, :T]
    return out


def _unit_length(x: Tensor) -> Tensor:
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()
