"""Gates of published programs that run once per head on the hidden states and features of that head.

The published form widens the hidden states to every head, joins them with the features and runs a small network on
[B, T, H, D + S]. Its first layer is linear, so its part for the hidden states is the same for every head and is
computed once for each token.

Shapes: B batch, T time, H heads, D hidden size, S features of a head, G outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.head_gate import head_gate as factorised_gate

Layer = nn.Module | Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[Any, str] = {
    nn.SiLU: "silu",
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    F.gelu: "gelu",
    F.silu: "silu",
    F.relu: "relu",
    torch.tanh: "tanh",
}


@dataclass(frozen=True)
class HeadFeatures:
    """[hidden; features] of each head, kept apart: hidden [B, T, D] and features [B, T, H, S].

    `flat`: the first three axes count as one, as in [B T H, D + S].
    """

    hidden: Tensor
    features: Tensor
    flat: bool = False

    @property
    def shape(self) -> torch.Size:
        """The shape that the joined tensor would have."""
        B, T, H, S = self.features.shape
        width = self.hidden.shape[-1] + S
        return torch.Size((B * T * H, width) if self.flat else (B, T, H, width))

    def flattened(self) -> HeadFeatures:
        """The same, with a row for each head of each token."""
        return replace(self, flat=True)


def head_features(hidden_BTD: Tensor, heads: int, parts: Sequence[Tensor]) -> HeadFeatures:
    """What `torch.cat([hidden widened to [B, T, heads, D], *parts], dim=-1)` holds, without making it.

    Raises ValueError for a part that is not [B, T, heads, ...].
    """
    expected = (*hidden_BTD.shape[:2], heads)
    for part in parts:
        if part.dim() != 4 or tuple(part.shape[:3]) != expected:
            raise ValueError(f"features must be {[*expected, 'S']}, not {list(part.shape)}")
    features_BTHS = parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=-1)
    dtype = torch.promote_types(hidden_BTD.dtype, features_BTHS.dtype)
    return HeadFeatures(hidden_BTD.to(dtype), features_BTHS.to(dtype))


def one_head(widened_BTHD: Tensor) -> Tensor:
    """The hidden states [B, T, D] of a tensor that holds the same ones for every head.

    Raises ValueError where it is not such a view.
    """
    if widened_BTHD.dim() != 4 or (widened_BTHD.stride(2) != 0 and widened_BTHD.shape[2] > 1):
        raise ValueError("the joined tensor is not one hidden state widened to every head")
    return widened_BTHD[:, :, 0]


def head_gate(network: nn.Module | Sequence[Layer], features: HeadFeatures) -> Tensor:
    """A linear layer, or a sequence of layers that starts with one, on the features of each head.

    Returns [B, T, H, G], or [B T H, G] for flattened features.

    Raises ValueError for a network that starts otherwise.
    """
    layers = [network] if isinstance(network, nn.Module) and not isinstance(network, nn.Sequential) else [*network]
    first, rest = layers[0], layers[1:]
    if type(first) is not nn.Linear:
        raise ValueError(f"a gate that starts with {type(first).__name__} does not factorise")
    h_BTD, s_BTHS = features.hidden, features.features
    activation = _activation(rest[0]) if len(rest) == 2 else None
    if activation is not None and type(rest[1]) is nn.Linear:
        last = rest[1]
        out: Tensor = factorised_gate(
            h_BTD, s_BTHS, first.weight, first.bias, last.weight, last.bias, activation=activation
        )
        return out.flatten(0, 2) if features.flat else out
    D = h_BTD.shape[-1]
    out = F.linear(h_BTD, first.weight[:, :D], first.bias).unsqueeze(2) + F.linear(s_BTHS, first.weight[:, D:])
    out = out.flatten(0, 2) if features.flat else out
    for layer in rest:
        out = layer(out)
    return out


def _activation(layer: Layer) -> str | None:
    """The name that `kernels.head_gate` has for an activation, or None."""
    if type(layer) is nn.GELU:
        return "gelu_tanh" if layer.approximate == "tanh" else "gelu"
    return _ACTIVATIONS.get(type(layer) if isinstance(layer, nn.Module) else layer)
