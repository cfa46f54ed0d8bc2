"""The gate as it is most often written. Shapes: B batch, T time, H heads, D hidden, S statistics, F, G outputs."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kernels.head_gate.activations import ACTIVATIONS


def head_gate_naive(
    h_BTD: Tensor,
    s_BTHS: Tensor,
    w1_FE: Tensor,
    b1_F: Tensor | None,
    w2_GF: Tensor,
    b2_G: Tensor | None,
    activation: str,
) -> Tensor:
    """`kernels.head_gate`, the hidden states expanded over the heads; arguments checked and of one dtype."""
    expanded_BTHD = h_BTD[:, :, None].expand(-1, -1, s_BTHS.shape[2], -1)
    inputs_BTHE = torch.cat([expanded_BTHD, s_BTHS], dim=-1)
    hidden_BTHF = ACTIVATIONS[activation].value(functional.linear(inputs_BTHE, w1_FE, b1_F))
    return functional.linear(hidden_BTHF, w2_GF, b2_G)
