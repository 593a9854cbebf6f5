"""Triton's kernels run by its interpreter on a CPU, beside torch's operations; prints the gaps.

Triton reads TRITON_INTERPRET when it is imported, so this runs in a process of its own.
"""

import os
from contextlib import nullcontext
from unittest.mock import patch

os.environ["TRITON_INTERPRET"] = "1"

import torch
import torch.nn.functional as F
from torch import Tensor

from glmix import kernels
from wsss.crf import DenseCRF, mean_field, segment_sums


def depthwise_gap(side: int, biased: bool, residual: bool) -> float:
    """Of 70 channels, more than a block has."""
    x, weight = torch.randn(2, 70, 5, 9), torch.randn(70, 1, side, side)
    bias = torch.randn(70) if biased else None
    plain = F.conv2d(x, weight, bias, padding=side // 2, groups=70) + (x if residual else 0)
    return gap(kernels.depthwise_conv2d(x, weight, bias, residual), plain)


def crf_gap(labels: int) -> float:
    """Of two images' CRF with long bags, by launches as on a GPU."""
    images = (torch.randint(0, 256, (2, 3, 20, 27)) // 64 * 40).to(torch.uint8)
    probs = torch.rand(2, labels, 20, 27).softmax(1)
    plain = DenseCRF("psa", iterations=3)(images, probs)
    with (
        patch.object(segment_sums, "HOST_TYPES", ()),
        patch.object(segment_sums, "has_kernels", always),
        patch.object(mean_field, "has_kernels", always),
    ):
        return gap(DenseCRF("psa", iterations=3)(images, probs), plain)


def always(_: Tensor) -> bool:
    """Every table has kernels."""
    return True


def gap(mine: Tensor, theirs: Tensor) -> float:
    """The largest difference."""
    return float((mine - theirs).abs().max())


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.cuda.device = lambda _: nullcontext()  # type: ignore[assignment, misc]
    cases = [(3, True, True), (5, False, False), (7, True, False)]
    print(max(depthwise_gap(*case) for case in cases), crf_gap(3), crf_gap(6))
