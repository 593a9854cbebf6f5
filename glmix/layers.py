"""Stems, downsampling, layer norm over channels, MLP, layer scale, self-attention.

Containers keep the module names of the released checkpoints; an `Identity` in a `Sequential` holds
the index of a layer that another variant has there.
"""

import torch
import torch.nn.functional as F
from timm.models import register_notrace_function, register_notrace_module
from torch import Tensor, nn

from glmix.cpu import LOW, attention, pointwise_conv2d, row_linear
from glmix.gpu import depthwise_conv2d

# Devices whose convolutions and batch norms keep channels last.
CHANNELS_LAST_DEVICES = ("cpu", "cuda")


def channels_last(x: Tensor) -> Tensor:
    """(B, D, h, w) with channels last in memory, where the device's kernels keep it so.

    Norms and products need a token's channels side by side: a network that starts this way converts
    nothing in between.
    """
    if x.device.type in CHANNELS_LAST_DEVICES:
        return x.contiguous(memory_format=torch.channels_last)
    return x


def channel_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm over the channels of a grid, in the precision of the grid.

    Autocast sends `F.layer_norm` to float32 and back on CUDA, two passes over the grid that buy
    nothing: the kernel takes its statistics in float32 in any case. On a CPU autocast leaves it.

    Args:
        x: (B, D, h, w).
        weight: (D,).
        bias: (D,).
        eps: added to the variance.

    Returns:
        (B, D, h, w), channels last in memory.
    """
    rows = x.permute(0, 2, 3, 1)
    if x.device.type == "cuda" and x.dtype in LOW and torch.is_autocast_enabled("cuda"):
        with torch.autocast("cuda", enabled=False):
            rows = low_layer_norm(rows, weight, bias, eps)
    else:
        rows = F.layer_norm(rows, weight.shape, weight, bias, eps)
    return rows.permute(0, 3, 1, 2)


def low_layer_norm(rows: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Layer norm of (..., D) in its own precision, weights (D,) rounded to it."""
    weight, bias = weight.to(rows.dtype), bias.to(rows.dtype)
    return F.layer_norm(rows, weight.shape, weight, bias, eps)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, D, h, w), each token by itself."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, D, h, w) over D."""
        return channel_norm(x, self.weight, self.bias, self.eps)


class LayerScale(nn.Module):
    """A learnt factor a channel; `gamma` is (1, D, 1, 1)."""

    def __init__(self, dim: int, init_value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((1, dim, 1, 1), init_value))

    def forward(self, x: Tensor) -> Tensor:
        """Scale (B, D, h, w)."""
        return x * self.gamma


class DepthwiseConv(nn.Conv2d):
    """Depth-wise convolution of odd side that keeps the size."""

    def __init__(self, dim: int, kernel_size: int = 3) -> None:
        super().__init__(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) → the same shape."""
        return depthwise_conv2d(x, self.weight, self.bias)


class ResidualDepthwiseConv(DepthwiseConv):
    """x + depth-wise convolution of x."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w) → the same shape."""
        return depthwise_conv2d(x, self.weight, self.bias, residual=True)


class PointwiseConv(nn.Conv2d):
    """1×1 convolution."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__(dim_in, dim_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim_in, h, w) → (B, dim_out, h, w)."""
        return pointwise_conv2d(x, self.weight, self.bias)


def local_conv(dim: int, kernel_size: int) -> nn.Sequential:
    """1×1, depth-wise and 1×1 convolution: the local branch."""
    return nn.Sequential(
        PointwiseConv(dim, dim), DepthwiseConv(dim, kernel_size), PointwiseConv(dim, dim)
    )


def conv_mlp(dim: int, ratio: float, depthwise: bool) -> nn.Sequential:
    """1×1 convolution, depth-wise 3×3 (or nothing), GELU, 1×1 convolution."""
    hidden = int(dim * ratio)
    return nn.Sequential(
        PointwiseConv(dim, hidden),
        ResidualDepthwiseConv(hidden) if depthwise else nn.Identity(),
        nn.GELU(),
        PointwiseConv(hidden, dim),
    )


def overlapping_stem(in_chans: int, dim: int) -> nn.Sequential:
    """Two strided 3×3 convolutions with batch norm: stride 4."""
    return nn.Sequential(
        nn.Identity(),
        nn.Conv2d(in_chans, dim // 2, 3, stride=2, padding=1),
        nn.BatchNorm2d(dim // 2),
        nn.GELU(),
        nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1),
        nn.BatchNorm2d(dim),
    )


def patch_stem(in_chans: int, dim: int) -> nn.Sequential:
    """One 4×4 convolution of stride 4, batch norm."""
    return nn.Sequential(nn.Conv2d(in_chans, dim, 4, stride=4), nn.BatchNorm2d(dim))


def overlapping_downsample(dim_in: int, dim_out: int) -> nn.Sequential:
    """Strided 3×3 convolution, batch norm."""
    return nn.Sequential(
        nn.Conv2d(dim_in, dim_out, 3, stride=2, padding=1), nn.BatchNorm2d(dim_out)
    )


def patch_downsample(dim_in: int, dim_out: int) -> nn.Sequential:
    """Batch norm, strided 2×2 convolution."""
    return nn.Sequential(nn.BatchNorm2d(dim_in), nn.Conv2d(dim_in, dim_out, 2, stride=2))


class SelfAttention(nn.Module):
    """Multi-head self-attention with the parameter names of `nn.MultiheadAttention`."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.in_proj_weight, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, D) → (B, N, D); `mask` (B, 1, 1, N) is True where a token may be attended to."""
        B, N, D = x.shape
        qkv = row_linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(B, N, 3, self.num_heads, D // self.num_heads).permute(2, 0, 3, 1, 4)
        out = attention(q, k, v, mask).transpose(1, 2).reshape(B, N, D)
        return row_linear(out, self.out_proj.weight, self.out_proj.bias)

    def weights(self, x: Tensor) -> Tensor:
        """What attends to what, the mean over heads: (B, N, D) → (B, N, N), rows sum to 1.

        One head at a time, so that no more than two N×N matrices are held per image.
        """
        B, N, D = x.shape
        side = D // self.num_heads
        # in the precision of the weights: this is asked for outside of autocast
        qk = F.linear(
            x.to(self.in_proj_weight.dtype),
            self.in_proj_weight[: 2 * D],
            self.in_proj_bias[: 2 * D],
        )
        queries, keys = qk.view(B, N, 2, self.num_heads, side).permute(2, 3, 0, 1, 4)
        total = x.new_zeros(B, N, N, dtype=qk.dtype)
        for q, k in zip(queries, keys, strict=True):
            total += (q * side**-0.5 @ k.transpose(-2, -1)).softmax(-1)
        return total / self.num_heads


class WindowAttention(SelfAttention):
    """Self-attention within square windows of the grid; the last ones may reach over its edge."""

    def __init__(self, dim: int, num_heads: int, side: int = 7) -> None:
        super().__init__(dim, num_heads)
        self.side = side

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, D, h, w) → (B, D, h, w)."""
        B, D, h, w = x.shape
        over_h, over_w = -h % self.side, -w % self.side
        if over_h or over_w:
            x = F.pad(x, (0, over_w, 0, over_h))
            inside = F.pad(x.new_ones(1, 1, h, w), (0, over_w, 0, over_h))
            mask = self._windows(inside).transpose(1, 2).unsqueeze(1).bool()
            mask = mask.repeat(B, 1, 1, 1)
        H, W = x.shape[-2:]
        rows = super().forward(self._windows(x), mask)
        grid = rows.reshape(B, H // self.side, W // self.side, self.side, self.side, D)
        return grid.permute(0, 5, 1, 3, 2, 4).reshape(B, D, H, W)[..., :h, :w]

    def _windows(self, x: Tensor) -> Tensor:
        """(B, D, H, W) → (B · windows, side², D)."""
        B, D, H, W = x.shape
        side = self.side
        x = x.reshape(B, D, H // side, side, W // side, side)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, D)


for _function in (channels_last, channel_norm):
    register_notrace_function(_function)
register_notrace_module(WindowAttention)  # pads where windows reach over the edge
