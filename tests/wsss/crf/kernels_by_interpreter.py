"""Triton's kernels run by its interpreter on a CPU, beside torch's operations; prints the gaps.

Triton reads TRITON_INTERPRET when it is imported, so this runs in a process of its own.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

os.environ["TRITON_INTERPRET"] = "1"

import torch
import torch.nn.functional as F
from torch import Tensor

from glmix import kernels
from wsss.crf import DenseCRF, DenseCRFLoss, mean_field, segment_sums, spatial_cache
from wsss.crf.spatial_cache import SpatialCache


def depthwise_gap(shape: tuple[int, int, int, int], side: int, biased: bool, add: bool) -> float:
    """Of a convolution of (B, D, h, w), channels first, by weights that lie apart in memory."""
    channels = shape[1]
    x, weight = torch.randn(shape), torch.randn(channels, 1, side, side, 2)[..., 0]
    bias = torch.randn(channels) if biased else None
    plain = F.conv2d(x, weight, bias, padding=side // 2, groups=channels) + add * x
    return gap([kernels.depthwise_conv2d(x, weight, bias, add)], [plain])


def crf_gap(*sizes: tuple[int, int, int], **options: str) -> float:
    """Of the CRF of a batch of images, each (labels, height, width), the last one grey."""
    images = [(torch.randint(0, 256, (3, *size)) // 64 * 40).byte() for _, *size in sizes]
    images[-1] = images[-1][:1]
    probs = [torch.rand(size).softmax(0) for size in sizes]
    return both(lambda: DenseCRF("psa", iterations=2, **options)(images, probs))  # type: ignore[arg-type]


def image_gap() -> float:
    """Of an image that is asked for twice, and of one at half resolution."""
    image, probs = torch.randint(0, 256, (3, 5, 8)).byte(), torch.rand(2, 5, 8).softmax(0)

    def solve() -> list[Tensor]:
        ask = DenseCRF("deeplab", iterations=3).of_image(image)
        half = DenseCRF(iterations=1, downsample=2)
        return [ask(probs), ask(probs.flip(0)), *half([image], [probs])]

    return both(solve)


def gradient_gap() -> float:
    """Of gradients through a CRF and of its energy as a loss."""
    images, probs = torch.randint(0, 256, (1, 3, 6, 5)).byte(), torch.rand(1, 3, 6, 5).softmax(1)
    wanted = torch.randn_like(probs)

    def gradients() -> list[Tensor]:
        given = probs.clone().requires_grad_()
        energy = (DenseCRF("irn", iterations=2)(images, given) * wanted).sum()
        return [
            *torch.autograd.grad(energy, given),
            *torch.autograd.grad(DenseCRFLoss(downsample=1)(images, given), given),
        ]

    return both(gradients)


def both(solve: Callable[[], list[Tensor]]) -> float:
    """The gap between a device's kernels and a CPU's operations."""
    plain = solve()
    with as_on_a_gpu():
        return gap(solve(), plain)


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Every table has kernels, a batch one lattice, and bags are cut into pieces."""
    with (
        patch.object(segment_sums, "HOST_TYPES", ()),
        patch.object(segment_sums, "has_kernels", lambda _: True),
        patch.object(mean_field, "has_kernels", lambda _: True),
        patch.object(spatial_cache, "SHARED", SpatialCache()),
    ):
        yield


def gap(mine: list[Tensor], theirs: list[Tensor]) -> float:
    """The largest difference; infinite where one of the two is not a number."""
    gaps = [(a - b).abs().nan_to_num(torch.inf).max() for a, b in zip(mine, theirs, strict=True)]
    return float(max(gaps))


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.cuda.device = lambda _: nullcontext()  # type: ignore[assignment, misc]
    gaps = {
        "70 channels, more than a block has": depthwise_gap((2, 70, 5, 9), 3, True, True),
        "a side of 5": depthwise_gap((1, 3, 6, 7), 5, False, False),
        "a kernel larger than the grid": depthwise_gap((1, 2, 2, 1), 7, True, False),
        "a single value": depthwise_gap((1, 1, 1, 1), 3, False, True),
        "long bags": crf_gap((3, 20, 27), (3, 20, 27)),
        "images of several sizes and labels": crf_gap((9, 4, 5), (1, 1, 1), (2, 3, 2)),
        "70 labels": crf_gap((70, 2, 3)),
        "a label": crf_gap((1, 3, 4)),
        "an image": image_gap(),
        "gradients": gradient_gap(),
        "float16": crf_gap((2, 6, 7), storage="fp16"),
        "bfloat16": crf_gap((3, 4, 5), storage="bf16"),
    }
    print(json.dumps(gaps))
