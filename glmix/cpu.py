"""Ways round slow kernels of PyTorch on a CPU, each taken where the CPU gains by it.

What pays depends on the CPU (`Capability`); `scripts/bench_glmix.py --kernels` measures each way
beside the plain operation. oneDNN's fast kernel for the weight gradient of a depth-wise convolution
stops at three columns; with AVX-512 its products beat the BLAS behind `F.linear`; and with
bfloat16 instructions the backward pass of fused attention is slow for short sequences. On other
devices, and on CPUs without these instructions, each function is the operation it is named for.

Which way is taken depends on shapes and modes, so torch.fx keeps each function as one node.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from timm.models import register_notrace_function
from torch import Tensor

# Columns of a depth-wise kernel that oneDNN's fast weight gradient takes at most.
FAST_COLUMNS = 3
# Batch size from which on PyTorch trains 1×1 convolutions through oneDNN on one thread.
FULL_BATCH = 16
# Tokens up to which plain attention in low precision trains faster than the fused one.
SHORT_SEQUENCE = 512
LOW = (torch.bfloat16, torch.float16)
# The product that the compiler uses; a private name, so its absence is allowed for.
_HAS_ONEDNN_LINEAR = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.mkldnn, "_linear_pointwise"
)


class Capability(NamedTuple):
    """What the instructions of a CPU make worth while.

    Attributes:
        onednn_products: oneDNN's products beat the BLAS behind `F.linear` (AVX-512).
        native_bfloat16: bfloat16 is computed as such, not by way of float32.
    """

    onednn_products: bool
    native_bfloat16: bool


@cache
def capability() -> Capability:
    """The capability of this machine's CPU."""
    return Capability(
        onednn_products=torch.backends.cpu.get_cpu_capability().startswith("AVX512"),
        native_bfloat16=_onednn_bfloat16(),
    )


def _onednn_bfloat16() -> bool:
    ask = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return bool(torch.backends.mkldnn.is_available() and ask is not None and ask())


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Depth-wise convolution that keeps the size.

    Args:
        x: (B, D, h, w).
        weight: (D, 1, k, k), k odd.
        bias: (D,) or None.

    Returns:
        (B, D, h, w).
    """
    if _trains_on_cpu(x, weight) and weight.shape[-1] > FAST_COLUMNS and bias is not None:
        autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if autocast else x.dtype
        if dtype not in LOW or capability().native_bfloat16:
            if autocast:
                x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
            return _DepthwiseConv.apply(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])


def pointwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1×1 convolution.

    Args:
        x: (B, D, h, w).
        weight: (E, D, 1, 1).
        bias: (E,) or None.

    Returns:
        (B, E, h, w).
    """
    if _infers_by_onednn(x):
        return row_linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    if _trains_by_onednn(x, weight) and x.shape[0] < FULL_BATCH:
        rows = x.permute(0, 2, 3, 1)
        if rows[..., 0].numel() % FULL_BATCH == 0:
            out = _conv_rows(rows, weight, bias)
            return out.reshape(*rows.shape[:-1], -1).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, bias)


def row_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`F.linear` on rows, through oneDNN where that is quicker.

    Args:
        x: (..., D).
        weight: (E, D).
        bias: (E,) or None.

    Returns:
        (..., E).
    """
    if _infers_by_onednn(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    if _trains_by_onednn(x, weight) and x.ndim == 3:
        return _conv_rows(x, weight[:, :, None, None], bias).reshape(*x.shape[:-1], -1)
    return F.linear(x, weight, bias)


def _conv_rows(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1×1 convolution of rows (B, ..., D), as images one pixel high → (images, n, E)."""
    images = x.shape[0]
    if images < FULL_BATCH and x[..., 0].numel() % FULL_BATCH == 0:
        images = FULL_BATCH  # rows know no neighbours: cut them as suits
    # one pixel high, many wide: the other way round would be taken for channels first
    flat = x.reshape(images, -1, x.shape[-1]).transpose(1, 2).unsqueeze(-2)
    return F.conv2d(flat, weight, bias).squeeze(-2).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention: softmax(q kᵀ / √d) v.

    Args:
        q: (B, heads, N, d).
        k: (B, heads, M, d).
        v: (B, heads, M, d).
        mask: (B, 1, 1, M), True where a token may be attended to; None for everywhere.

    Returns:
        (B, heads, N, d).
    """
    if mask is None and _prefers_plain_attention(q):
        return (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(-1).to(v.dtype) @ v
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _prefers_plain_attention(q: Tensor) -> bool:
    """Whether attention written as two products and a softmax is the quicker one to train."""
    short = q.dtype in LOW and q.shape[-2] <= SHORT_SEQUENCE
    return short and _trains_on_cpu(q) and capability().native_bfloat16


def _trains_on_cpu(*tensors: Tensor) -> bool:
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return False
    return tensors[0].device.type == "cpu" and any(t.requires_grad for t in tensors)


def _trains_by_onednn(x: Tensor, weight: Tensor) -> bool:
    return x.dtype == torch.float32 and _trains_on_cpu(x, weight) and capability().onednn_products


def _infers_by_onednn(x: Tensor) -> bool:
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return False
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and _HAS_ONEDNN_LINEAR
        and capability().onednn_products
    )


class _DepthwiseConv(torch.autograd.Function):
    """Depth-wise convolution whose weight gradient is taken a few columns at a time.

    It has no second derivative.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
        x, weight = ctx.saved_tensors
        dim, _, side, _ = weight.shape
        half = side // 2

        def conv_backward(
            x: Tensor, weight: Tensor, padding: int, mask: list[bool]
        ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
            return torch.ops.aten.convolution_backward(
                grad, x, weight, [dim], [1, 1], [padding] * 2, [1, 1], False, [0, 0], dim, mask
            )

        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = conv_backward(x, weight, half, [True, False, False])[0]
        columns: list[Any] = []
        padded = F.pad(x, (half, half, half, half))
        for left in range(0, side, FAST_COLUMNS):
            part = weight[..., left : left + FAST_COLUMNS]
            met = padded[..., left : left + x.shape[-1] + part.shape[-1] - 1]
            columns.append(conv_backward(met, part, 0, [False, True, False])[1])
        return grad_x, torch.cat(columns, dim=-1), grad.sum((0, 2, 3))


for _function in (depthwise_conv2d, pointwise_conv2d, row_linear, attention):
    register_notrace_function(_function)
