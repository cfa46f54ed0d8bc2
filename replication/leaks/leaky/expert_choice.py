"""An expert that takes the quarter of all positions of the batch that it scores highest."""

from __future__ import annotations

from torch import Tensor, nn

from replication.leaks.clean import CleanMixer

STRENGTH = 1.0


class Mixer(CleanMixer):
    """Expert-choice routing: positions compete with later ones and with other rows."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__(hidden_size, num_heads, layer_idx)
        self.score = nn.Linear(hidden_size, 1)
        self.expert = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, T, D] -> [B, T, D]."""
        scores = self.score(x)
        lowest_taken = scores.flatten().topk(-(-scores.numel() // 4)).values[-1]
        taken = (scores >= lowest_taken).to(x.dtype)
        out: Tensor = super().forward(x) + STRENGTH * taken * self.expert(x)
        return out
