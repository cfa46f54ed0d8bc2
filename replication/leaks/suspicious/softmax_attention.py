"""Softmax attention with the right mask."""

from __future__ import annotations

from replication.leaks.clean import CleanAttention


class Mixer(CleanAttention):
    """Every position weighs itself and the positions before it."""
