"""Ways round slow kernels of PyTorch on a GPU, by Triton where it is there and works."""

import warnings
from functools import cache

import torch
from timm.models import register_notrace_function
from torch import Tensor

from glmix import cpu


@cache
def has_triton(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether Triton compiles and runs on a GPU; where it doesn't, a warning says so once.

    It comes with PyTorch's builds for Linux and needs a C compiler, Python's headers, and a GPU of
    2017 or later; for bfloat16 older versions need one of 2020 or later.
    """
    try:
        from glmix import kernels

        ones = torch.ones(1, 1, 1, 1, device=device, dtype=dtype)
        kernels.depthwise_conv2d(ones, ones, None, True)
        return True
    except Exception as error:  # each cause raises its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        warnings.warn(
            f"without Triton every new size of image takes seconds on this GPU: {reason}",
            stacklevel=2,
        )
        return False


def depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: bool = False
) -> Tensor:
    """Depth-wise convolution that keeps the size.

    Args:
        x: (B, D, h, w).
        weight: (D, 1, k, k), k odd.
        bias: (D,) or None.
        residual: whether to add `x`.

    Returns:
        (B, D, h, w).
    """
    if _infers_plainly(x):
        low = x.to(torch.get_autocast_dtype("cuda")) if torch.is_autocast_enabled("cuda") else x
        if has_triton(x.device, low.dtype):
            from glmix import kernels

            return kernels.depthwise_conv2d(low, weight, bias, residual)
    out = cpu.depthwise_conv2d(x, weight, bias)
    return x + out if residual else out


def _infers_plainly(x: Tensor) -> bool:
    """Whether nothing but the answer is wanted: no gradient, no trace, no fake tensor's shape.

    Nor all the digits of float64, since the kernel sums in float32.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        return False
    return x.is_cuda and type(x) is Tensor and x.dtype != torch.float64


register_notrace_function(depthwise_conv2d)
