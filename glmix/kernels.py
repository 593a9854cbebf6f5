"""Depth-wise convolution as a Triton kernel, for networks that look at images of many sizes.

cuDNN compiles its depth-wise kernels anew for every size of the grid, 0.2 s each and two seconds a
network (H200, cuDNN 9), and torch's own know no channels-last layout. This one is compiled once
per side and precision, whatever the size. Training, whose crops are of one size, stays with cuDNN.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

PIXELS, CHANNELS, WARPS = 32, 64, 4


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, residual: bool) -> Tensor:
    """Depth-wise convolution that keeps the size; no gradient.

    Args:
        x: (B, D, h, w) on a GPU.
        weight: (D, 1, k, k), k odd.
        bias: (D,) or None.
        residual: whether to add `x`.

    Returns:
        (B, D, h, w) in the precision of `x`, channels last in memory; sums are kept in float32.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    out = torch.empty_like(x, memory_format=torch.channels_last)
    batch, channels, height, width = x.shape
    rows = batch * height * width
    if rows == 0:
        return out
    grid = triton.cdiv(rows, PIXELS), triton.cdiv(channels, CHANNELS)
    with torch.cuda.device(x.device):
        _depthwise[grid](
            x,
            weight.contiguous(),
            weight if bias is None else bias,
            out,
            rows,
            height,
            width,
            channels,
            SIDE=weight.shape[-1],
            BIASED=bias is not None,
            RESIDUAL=residual,
            PIXELS=PIXELS,
            CHANNELS=CHANNELS,
            num_warps=WARPS,
        )
    return out


@triton.jit(do_not_specialize=["rows", "height", "width"])
def _depthwise(
    x,
    weight,
    bias,
    out,
    rows,
    height,
    width,
    channels,
    SIDE: tl.constexpr,
    BIASED: tl.constexpr,
    RESIDUAL: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = (tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS))[None, :]
    line, column = (pixel // width) % height, pixel % width
    real = channel < channels
    here = pixel.to(tl.int64)[:, None] * channels + channel
    mask = (pixel < rows)[:, None] & real
    half: tl.constexpr = SIDE // 2
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for down in range(-half, half + 1):  # unrolled, 25 taps take more registers than there are
        for right in tl.static_range(-half, half + 1):
            inside = (line + down >= 0) & (line + down < height)
            inside &= (column + right >= 0) & (column + right < width)
            there = here + (down * width + right).to(tl.int64) * channels
            value = tl.load(x + there, mask=mask & inside[:, None], other=0.0).to(tl.float32)
            tap = (down + half) * SIDE + right + half
            factor = tl.load(weight + channel * (SIDE * SIDE) + tap, mask=real, other=0.0)
            total += value * factor.to(tl.float32)
    if RESIDUAL:
        total += tl.load(x + here, mask=mask, other=0.0).to(tl.float32)
    if BIASED:
        total += tl.load(bias + channel, mask=real, other=0.0).to(tl.float32)
    tl.store(out + here, total.to(out.dtype.element_ty), mask=mask)
