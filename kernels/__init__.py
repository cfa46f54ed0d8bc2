"""Operators of linear-attention token mixers.

One folder an operator: `naive.py` defines the maths token by token, `chunk.py` is the fast PyTorch form, and
the function of the package checks its arguments and chooses between them. Nothing here knows of models or
training.
"""

from kernels.decay_attention import decay_attention
from kernels.delta_rule import delta_rule
from kernels.fir import fir
from kernels.gated_norm import gated_norm

__all__ = ["decay_attention", "delta_rule", "fir", "gated_norm"]
