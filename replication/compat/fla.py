"""Plain-PyTorch stand-ins for the parts of flash-linear-attention (fla) that published programs import.

Parameter names, shapes, defaults and maths follow fla 0.2.2 and 0.3.0
(mid-2025, when the programs were written). Two deliberate differences: float64 stays float64 (fla computes
it in float32), and a convolution cache is honoured as left context at any length (those releases honour it
for single tokens only).

Source: https://github.com/fla-org/flash-linear-attention (fla/modules, fla/layers/utils.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from kernels import fir


def _accumulation_dtype(x: torch.Tensor) -> torch.dtype:
    """fla reduces in float32 whatever the input is; float64 is kept, so that checks in float64 mean something."""
    return torch.promote_types(x.dtype, torch.float32)


def l2norm(x: torch.Tensor, eps: float = 1e-6, output_dtype: torch.dtype | None = None) -> torch.Tensor:
    """x / sqrt(sum(x^2, -1) + eps); eps stands inside the root. Any shape [..., D], in x's dtype by default."""
    wide = x.to(_accumulation_dtype(x))
    normalised = wide * torch.rsqrt(wide.square().sum(-1, keepdim=True) + eps)
    return normalised.to(output_dtype or x.dtype)


def _rms_normalised(x: torch.Tensor, weight: torch.Tensor | None, eps: float) -> torch.Tensor:
    """weight * x / sqrt(mean(x^2, -1) + eps), left in the accumulation dtype."""
    wide = x.to(_accumulation_dtype(x))
    normalised = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return normalised if weight is None else normalised * weight.to(wide.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation of [..., hidden_size]; output in the input's dtype. Weight starts at one."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self, hidden_size: int, elementwise_affine: bool = True, bias: bool = False, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.hidden_size, self.elementwise_affine, self.eps = hidden_size, elementwise_affine, eps
        self.register_parameter("weight", nn.Parameter(torch.ones(hidden_size)) if elementwise_affine else None)
        has_bias = elementwise_affine and bias
        self.register_parameter("bias", nn.Parameter(torch.zeros(hidden_size)) if has_bias else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise x [..., hidden_size]."""
        y = _rms_normalised(x, self.weight, self.eps)
        return (y if self.bias is None else y + self.bias.to(y.dtype)).to(x.dtype)


class FusedRMSNormGated(nn.Module):
    """RMSNorm(x) * gate(g), the gate being swish(g) = g * sigmoid(g) or sigmoid(g). x, g: [..., hidden_size]."""

    weight: nn.Parameter | None

    def __init__(
        self,
        hidden_size: int,
        elementwise_affine: bool = True,
        eps: float = 1e-5,
        activation: str = "swish",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if activation not in ("swish", "silu", "sigmoid"):
            raise ValueError(f"activation must be swish, silu or sigmoid, not {activation!r}")
        self.hidden_size, self.elementwise_affine = hidden_size, elementwise_affine
        self.eps, self.activation = eps, activation
        weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)
        self.register_parameter("bias", None)

    def forward(self, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        """Normalise x and gate it with g, both [..., hidden_size]."""
        y = _rms_normalised(x, self.weight, self.eps)
        wide_gate = g.to(y.dtype)
        gate = torch.sigmoid(wide_gate) if self.activation == "sigmoid" else F.silu(wide_gate)
        return (y * gate).to(x.dtype)


class ShortConvolution(nn.Conv1d):
    """Causal depthwise convolution over time, with the channels last and an optional SiLU.

    Parameters are those of a depthwise `nn.Conv1d`: weight [D, 1, W], bias [D], PyTorch's default
    initialisation. The last tap, weight[:, 0, W - 1], multiplies the present token.
    """

    def __init__(
        self,
        hidden_size: int,
        kernel_size: int,
        bias: bool = False,
        activation: str | None = "silu",
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if activation not in (None, "silu", "swish"):
            raise ValueError(f"activation must be silu, swish or None, not {activation!r}")
        width = kernel_size
        super().__init__(
            hidden_size, hidden_size, width, padding=width - 1, groups=hidden_size, bias=bias,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.hidden_size, self.activation = hidden_size, activation

    def forward(  # type: ignore[override]  # as in fla, it returns a state as well
        self,
        x: torch.Tensor,
        *,
        cache: torch.Tensor | None = None,
        output_final_state: bool = False,
        cu_seqlens: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Convolve x [B, T, D]; returns (y [B, T, D] in x's dtype, final state [N, D, W] or None).

        `cache` [N, D, W] holds the last W inputs before x. `cu_seqlens` [N + 1] marks the sequences packed
        into a batch of one, which do not see each other. As in fla, a state is returned whenever a cache
        was passed, and the cache itself is updated in place.
        """
        if cu_seqlens is None:
            pieces, sequences = [x], len(x)
        else:
            lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
            pieces, sequences = list(x.split(lengths, dim=1)), len(lengths)
        if output_final_state and cache is None:
            cache = x.new_zeros(sequences, x.shape[-1], self.kernel_size[0])
        if cache is None:
            return torch.cat([self._convolve(piece, None) for piece in pieces], dim=1), None
        contexts = [cache] if cu_seqlens is None else list(cache.split(1))
        y = torch.cat([self._convolve(*pair) for pair in zip(pieces, contexts, strict=True)], dim=1)
        width = self.kernel_size[0]
        states = [
            torch.cat([context, piece.transpose(1, 2)], dim=2)[..., -width:]
            for piece, context in zip(pieces, contexts, strict=True)
        ]
        cache.copy_(torch.cat(states))
        return y, cache

    def _convolve(self, x: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
        wide = x.to(_accumulation_dtype(x))
        if context is not None:
            wide = torch.cat([context[..., 1:].transpose(1, 2).to(wide.dtype), wide], dim=1)
        (y,) = fir(wide, [self.weight[:, 0].to(wide.dtype)])
        y = y[:, y.shape[1] - x.shape[1] :]
        if self.bias is not None:
            y = y + self.bias.to(wide.dtype)
        return (y if self.activation is None else F.silu(y)).to(x.dtype)


def get_unpad_data(attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
    """From a 0/1 mask [B, T]: flat indices of the valid tokens, cu_seqlens [B + 1] (int32), longest length."""
    lengths = attention_mask.sum(-1, dtype=torch.int32)
    indices = attention_mask.flatten().nonzero().flatten()
    return indices, F.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0)), int(lengths.max())


def index_first_axis(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Rows `indices` of x [N, ...]."""
    return x[indices]


def pad_input(hidden_states: torch.Tensor, indices: torch.Tensor, batch_size: int, seq_len: int) -> torch.Tensor:
    """Inverse of `index_first_axis`: [tokens, ...] back to [batch_size, seq_len, ...], zero where masked."""
    padded = hidden_states.new_zeros(batch_size * seq_len, *hidden_states.shape[1:])
    return padded.index_put((indices,), hidden_states).view(batch_size, seq_len, *hidden_states.shape[1:])


class Cache:
    """States of each layer between calls while decoding: one dictionary a layer."""

    def __init__(self, seen_tokens: int = 0) -> None:
        self.states: list[dict[str, Any]] = []
        self._seen_tokens = seen_tokens

    def __len__(self) -> int:
        return len(self.states)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.states)

    def __getitem__(self, layer_idx: int) -> dict[str, Any]:
        if layer_idx >= len(self):
            raise KeyError(f"layer {layer_idx} has no state: {len(self)} layers are cached")
        return self.states[layer_idx]

    def update(
        self, recurrent_state: Any = None, conv_state: Any = None, layer_idx: int = 0, offset: int = 1
    ) -> dict[str, Any]:
        """Keep the new states of a layer; the tokens seen are counted once a step, at the last cached layer."""
        new = {"recurrent_state": recurrent_state, "conv_state": conv_state}
        if layer_idx >= len(self):
            self._seen_tokens += offset if layer_idx == 0 else 0
            self.states.append({"attn_state": None, "ffn_state": None, **new})
        else:
            self._seen_tokens += offset if layer_idx == len(self) - 1 else 0
            self.states[layer_idx].update((key, value) for key, value in new.items() if value is not None)
        return self.states[min(layer_idx, len(self) - 1)]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens seen so far, 0 for a layer without a state."""
        return self._seen_tokens if layer_idx < len(self) else 0
