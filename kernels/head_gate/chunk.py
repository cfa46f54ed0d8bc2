"""The gate with its first layer factorised: w1 [h; s] = w1a h + w1b s, the first part once a token.

For the backward pass only the arguments are kept. Everything of size F is computed again, a few heads at a time, so
that large tensors with all of H and F never exist.

Shapes: M = B*T tokens, H heads, J of them, D hidden, S statistics, F features, G outputs, E = D + S.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kernels.head_gate.activations import ACTIVATIONS

VALUES_TOGETHER = 1 << 20


def head_gate_chunk(
    h_BTD: Tensor,
    s_BTHS: Tensor,
    w1_FE: Tensor,
    b1_F: Tensor | None,
    w2_GF: Tensor,
    b2_G: Tensor | None,
    activation: str,
) -> Tensor:
    """`kernels.head_gate`, factorised; arguments checked and of one dtype."""
    h_MD, s_MHS = h_BTD.flatten(0, 1), s_BTHS.flatten(0, 1)
    out_MHG: Tensor = _Factorised.apply(h_MD, s_MHS, w1_FE, b1_F, w2_GF, activation)
    out_BTHG = out_MHG.view(*s_BTHS.shape[:3], w2_GF.shape[0])
    return out_BTHG if b2_G is None else out_BTHG + b2_G


class _Factorised(torch.autograd.Function):
    """w2 act(w1a h + w1b s + b1), with its own gradient."""

    @staticmethod
    def forward(
        ctx: Any, h_MD: Tensor, s_MHS: Tensor, w1_FE: Tensor, b1_F: Tensor | None, w2_GF: Tensor, activation: str
    ) -> Tensor:
        ctx.save_for_backward(h_MD, s_MHS, w1_FE, b1_F, w2_GF)
        ctx.activation = activation
        shared_MF = _shared(h_MD, w1_FE, b1_F)
        value = ACTIVATIONS[activation].value
        groups = s_MHS.split(_together(shared_MF), dim=1)
        return torch.cat([value(_first_layer(shared_MF, s_MJS, w1_FE)) @ w2_GF.T for s_MJS in groups], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grads[0].device.type, enabled=False):  # a caller may be within it
            return *_gradients(ctx.activation, grads[0], *ctx.saved_tensors), None


def _gradients(
    activation: str,
    grad_MHG: Tensor,
    h_MD: Tensor,
    s_MHS: Tensor,
    w1_FE: Tensor,
    b1_F: Tensor | None,
    w2_GF: Tensor,
) -> tuple[Tensor | None, ...]:
    """Gradients of the tensors after `grad_MHG`."""
    value, gradient = ACTIVATIONS[activation]
    shared_MF = _shared(h_MD, w1_FE, b1_F)
    D, J = h_MD.shape[1], _together(shared_MF)
    grad_shared_MF = torch.zeros_like(shared_MF)
    grad_w1_FE, grad_w2_GF = torch.zeros_like(w1_FE), torch.zeros_like(w2_GF)
    grad_s = []
    for s_MJS, grad_MJG in zip(s_MHS.split(J, dim=1), grad_MHG.split(J, dim=1), strict=True):
        z_MJF = _first_layer(shared_MF, s_MJS, w1_FE)
        grad_w2_GF.addmm_(grad_MJG.flatten(0, 1).T, value(z_MJF).flatten(0, 1))
        grad_z_MJF = gradient(grad_MJG @ w2_GF, z_MJF)
        grad_s.append(grad_z_MJF @ w1_FE[:, D:])
        grad_w1_FE[:, D:].addmm_(grad_z_MJF.flatten(0, 1).T, s_MJS.flatten(0, 1))
        grad_shared_MF += grad_z_MJF.sum(1)
    grad_w1_FE[:, :D] = grad_shared_MF.T @ h_MD
    grad_b1_F = None if b1_F is None else grad_shared_MF.sum(0)
    return grad_shared_MF @ w1_FE[:, :D], torch.cat(grad_s, dim=1), grad_w1_FE, grad_b1_F, grad_w2_GF


def _together(shared_MF: Tensor) -> int:
    """How many heads are taken together: as many as keep what is computed for them within a cache, or one."""
    return max(1, VALUES_TOGETHER // shared_MF.numel())


def _first_layer(shared_MF: Tensor, s_MJS: Tensor, w1_FE: Tensor) -> Tensor:
    """The first layer of some heads, before its activation [M, J, F]."""
    return (s_MJS @ w1_FE[:, -s_MJS.shape[2] :].T).add_(shared_MF[:, None])


def _shared(h_MD: Tensor, w1_FE: Tensor, b1_F: Tensor | None) -> Tensor:
    """What all heads of a token have in common [M, F]."""
    w1_DF = w1_FE[:, : h_MD.shape[1]].T
    return h_MD @ w1_DF if b1_F is None else torch.addmm(b1_F, h_MD, w1_DF)
