"""Causal depthwise filters as a two-dimensional convolution over a channels-last image one pixel high.

Seen that way, [B, T, C] needs no transposed copy. Forward and backward at B=4, T=128, C=64..128 on one CPU
thread, relative to it: grouped conv1d 1.3 to 3.7 times as long, sum of shifted products 1.3 to 2.2 (4 taps) and
3 to 6 (31 and 64 taps), blocked Toeplitz products 2.4 to 5.6 (4 taps) and 1.3 to 2.8 (31 and 64 taps), whole
Toeplitz products 4 to 27, Fourier transforms 1.1 to 12. For two filters at once: one convolution with both on
repeated channels 1.1 to 2.3, one with two outputs a channel 4 to 11.

Shapes: B batch, T time, C channels, W taps.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def fir_chunk(x_BTC: Tensor, filters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """`kernels.fir`, as convolutions; arguments already checked and of one dtype."""
    longest = max(filter_CW.shape[1] for filter_CW in filters)
    padded_BSC = F.pad(x_BTC, (0, 0, longest - 1, 0))
    outputs = []
    for filter_CW in filters:
        C, W = filter_CW.shape
        if W == 1:  # the convolution would go channel by channel
            outputs.append(x_BTC * filter_CW[:, 0])
            continue
        image_BC1S = padded_BSC[:, longest - W :].mT.unsqueeze(2)
        out_BC1T = F.conv2d(image_BC1S, filter_CW[:, None, None], groups=C)
        outputs.append(out_BC1T.squeeze(2).mT)
    return tuple(outputs)
