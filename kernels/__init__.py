"""Operators of linear-attention token mixers.

One folder an operator: `naive.py` defines the maths, `chunk.py` is the fast PyTorch form, `triton.py` the GPU form
where ours is worth having, `fla.py` that of flash-linear-attention where it is. The function of the package checks
its arguments and chooses between them (`backends.py`). Nothing here knows of models or training.
"""

from kernels.branch_mix import branch_mix, branch_moments
from kernels.decay_attention import decay_attention
from kernels.delta_rule import delta_rule
from kernels.fir import fir
from kernels.gated_norm import gated_norm
from kernels.head_gate import head_gate

__all__ = ["branch_mix", "branch_moments", "decay_attention", "delta_rule", "fir", "gated_norm", "head_gate"]
