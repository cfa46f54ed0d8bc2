"""The language model around a token mixer: pre-norm blocks of mixer and SwiGLU, RMSNorm, tied or untied head.

Shape suffixes: B batch, T time, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from replication.candidate import mix
from replication.initialise import construct
from replication.record import Scale


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), Shazeer 2020 (arXiv 2002.05202), eq. 6."""

    def __init__(self, hidden_size: int, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden_size, width, bias=False)
        self.up_proj = nn.Linear(hidden_size, width, bias=False)
        self.down_proj = nn.Linear(width, hidden_size, bias=False)

    def forward(self, x_BTD: torch.Tensor) -> torch.Tensor:
        """[B, T, D] -> [B, T, D]."""
        output: torch.Tensor = self.down_proj(F.silu(self.gate_proj(x_BTD)) * self.up_proj(x_BTD))
        return output


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, mixer: nn.Module, hidden_size: int, mlp_width: int) -> None:
        super().__init__()
        self.mixer_norm = nn.RMSNorm(hidden_size, eps=1e-6)
        self.mixer = mixer
        self.mlp_norm = nn.RMSNorm(hidden_size, eps=1e-6)
        self.mlp = SwiGLU(hidden_size, mlp_width)

    def forward(self, x_BTD: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """[B, T, D] -> [B, T, D] and the mixer's auxiliary loss, if it has one."""
        mixed_BTD, auxiliary = mix(self.mixer, self.mixer_norm(x_BTD))
        x_BTD = x_BTD + mixed_BTD.to(x_BTD.dtype)
        return x_BTD + self.mlp(self.mlp_norm(x_BTD)), auxiliary


class LanguageModel(nn.Module):
    """Next-token model; `mixers`, one a layer, are the architecture under test."""

    def __init__(self, scale: Scale, vocab_size: int, mixers: Sequence[nn.Module]) -> None:
        super().__init__()
        width = round(scale.mlp_ratio * scale.hidden_size)
        self.embedding = nn.Embedding(vocab_size, scale.hidden_size)
        nn.init.normal_(self.embedding.weight, std=scale.hidden_size**-0.5)
        self.blocks = nn.ModuleList(Block(mixer, scale.hidden_size, width) for mixer in mixers)
        self.norm = nn.RMSNorm(scale.hidden_size, eps=1e-6)
        self.head = nn.Linear(scale.hidden_size, vocab_size, bias=False)
        if scale.tie_embeddings:
            self.head.weight = self.embedding.weight

    def forward(self, tokens_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens [B, T] -> logits [B, T, V] in float32, and the sum of the mixers' auxiliary losses (scalar)."""
        x_BTD = self.embedding(tokens_BT)
        auxiliary = x_BTD.new_zeros(())
        for block in self.blocks:
            x_BTD, own = block(x_BTD)
            if own is not None:
                auxiliary = auxiliary + own
        return self.head(self.norm(x_BTD)).float(), auxiliary


def build_model(mixers: Sequence[nn.Module], scale: Scale, vocab_size: int, seed: int) -> LanguageModel:
    """The model around one mixer a layer, with initial values keyed by (seed, tensor name)."""
    model = construct(lambda: LanguageModel(scale, vocab_size, mixers), seed)
    assert isinstance(model, LanguageModel)
    return model
