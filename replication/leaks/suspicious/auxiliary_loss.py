"""An auxiliary loss over all positions of the batch, beside outputs that are causal."""

from __future__ import annotations

from torch import Tensor, nn

from replication.leaks.clean import CleanMixer


class Mixer(nn.Module):
    """Two branches and a loss that balances their use."""

    def __init__(self, hidden_size: int, num_heads: int, layer_idx: int) -> None:
        super().__init__()
        self.branch = CleanMixer(hidden_size, num_heads, layer_idx)
        self.router = nn.Linear(hidden_size, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, D] -> outputs [B, T, D], and the loss."""
        shares = self.router(x).softmax(-1)
        loss = 0.01 * shares.mean((0, 1)).square().sum()
        return shares[..., :1] * self.branch(x) + shares[..., 1:] * x, loss
