"""One small MLP shared by all heads: on the token's hidden state and each head's own statistics."""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.arguments import check_rank, check_tensor, working_dtype
from kernels.backends import Backend, choose_backend
from kernels.head_gate.activations import ACTIVATIONS
from kernels.head_gate.chunk import head_gate_chunk
from kernels.head_gate.limits import triton_limit
from kernels.head_gate.naive import head_gate_naive

__all__ = ["ACTIVATIONS", "head_gate"]


def head_gate(
    h: Tensor,
    s: Tensor,
    w1: Tensor,
    b1: Tensor | None,
    w2: Tensor,
    b2: Tensor | None,
    *,
    activation: str = "gelu",
    backend: Backend = "auto",
) -> Tensor:
    """w2 act(w1 [h_t; s_th] + b1) + b2 for every token t and head.

    The gate of many published token mixers, which give each head the hidden state of its token and statistics of
    the head's own branches. It is most often written by expanding the hidden states over the heads. As
    w1 [h; s] = w1a h + w1b s, the large product is the same for all heads and is needed once a token.

    Args:
        h: hidden states [B, T, D].
        s: statistics of each head [B, T, H, S].
        w1, b1: first layer [F, D + S], the columns of `h` first, and its bias [F] or None.
        w2, b2: second layer [G, F] and its bias [G] or None.
        activation: "gelu" (exact), "gelu_tanh", "silu", "relu" or "tanh".
        backend: "naive", "chunk" (factorised), "triton" or "auto".

    Returns [B, T, H, G] in the dtype of `h`. The forms naive and chunk compute in float32, or in float64 if any
    argument is. The triton form multiplies in the dtype of the arguments, as its products are on a GPU, and sums in
    float32. Within autocast all arguments, and so the result, are of autocast's dtype.

    Raises ValueError for a wrong shape, a dtype that is not floating point, an unknown activation, or a backend
    that is unknown or cannot serve the call.
    """
    check_rank("h", h, "[B, T, D]")
    check_rank("s", s, "[B, T, H, S]")
    check_rank("w1", w1, "[F, D + S]")
    check_rank("w2", w2, "[G, F]")
    B, T, D = h.shape
    H, S = s.shape[2:]
    G, F = w2.shape
    check_tensor("s", s, (B, T, H, S), "[B, T, H, S]")
    check_tensor("w1", w1, (F, D + S), "[F, D + S]")
    if b1 is not None:
        check_tensor("b1", b1, (F,), "[F]")
    if b2 is not None:
        check_tensor("b2", b2, (G,), "[G]")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")

    device = h.device.type
    if torch.is_autocast_enabled(device) and h.dtype != torch.float64:  # as it would do with the two layers
        narrow = [
            None if each is None else each.to(torch.get_autocast_dtype(device)) for each in (h, s, w1, b1, w2, b2)
        ]
        with torch.autocast(device, enabled=False):
            return head_gate(*narrow, activation=activation, backend=backend)  # type: ignore[arg-type]
    chosen = choose_backend("head_gate", backend, h, {"triton": triton_limit(h, s, w1, b1, w2, b2)})
    if chosen == "triton":
        from kernels.head_gate.triton import head_gate_triton

        return head_gate_triton(h, s, w1, b1, w2, b2, activation)
    dtype = working_dtype(h, s, w1, b1, w2, b2)
    biases = [None if bias is None else bias.to(dtype) for bias in (b1, b2)]
    form = head_gate_naive if chosen == "naive" else head_gate_chunk
    return form(h.to(dtype), s.to(dtype), w1.to(dtype), biases[0], w2.to(dtype), biases[1], activation).to(h.dtype)
