"""Mean field over all pairs of pixels: true Gaussians, for images of a few thousand pixels.

With f a pixel's features in standard deviations, exp(−½|fᵢ − fⱼ|²) normalised over j is an
attention, softmaxⱼ(fᵢ·fⱼ − ½|fⱼ|²), whose normaliser gives the kernel's row sums d; the symmetric
normalisation is d^½ · attention(d^−½ · x).
"""

import torch
from torch import Tensor

from wsss.crf.inputs import Problem
from wsss.crf.mean_field import compatible, positions
from wsss.crf.presets import CRFParameters
from wsss.errors import WsssError

MAX_PIXELS = 1 << 14
BLOCK = 1 << 10  # rows of the pairs' matrix made at a time


def solve(problem: Problem, parameters: CRFParameters) -> Tensor:
    """(L, H, W) marginals of true Gaussian kernels, differentiable.

    Raises:
        WsssError: for an image of more than 16,384 pixels.
    """
    num_labels, height, width = problem.log_probs.shape
    if height * width > MAX_PIXELS:
        raise WsssError(
            f"the CRF backend 'brute' compares all pairs of pixels, and an image of "
            f"{width}×{height} has too many: give at most {MAX_PIXELS} pixels, or backend='torch'"
        )
    p = parameters
    unary = problem.log_probs.flatten(1).t()
    colour = problem.image.reshape(3, -1).t().to(unary.dtype) / p.bilateral_srgb
    kernels = [
        _scaled_positions(problem.image, p.gaussian_sxy, unary),
        torch.cat([_scaled_positions(problem.image, p.bilateral_sxy, unary), colour], 1),
    ]
    scales = [_root_of_row_sums(features) for features in kernels]
    marginals = unary.softmax(1)
    for _ in range(p.iterations):
        message = torch.zeros_like(unary)
        weights = (p.gaussian_weight, p.bilateral_weight)
        for weight, features, scale in zip(weights, kernels, scales, strict=True):
            message = message + weight * scale * _attend(features, marginals / scale)
        marginals = (unary + compatible(message, problem.compatibility)).softmax(1)
    return marginals.t().reshape(num_labels, height, width)


def _scaled_positions(image: Tensor, sxy: float, like: Tensor) -> Tensor:
    return torch.stack(positions(image, sxy), 1).to(like.dtype)


def _scores(features: Tensor, start: int) -> Tensor:
    return features[start : start + BLOCK] @ features.t() - features.square().sum(1) / 2


def _attend(features: Tensor, values: Tensor) -> Tensor:
    starts = range(0, len(features), BLOCK)
    return torch.cat([_scores(features, start).softmax(1) @ values for start in starts])


def _root_of_row_sums(features: Tensor) -> Tensor:
    """(N, 1): d^½."""
    starts = range(0, len(features), BLOCK)
    log_sums = torch.cat([_scores(features, start).logsumexp(1) for start in starts])
    return ((log_sums - features.square().sum(1) / 2) / 2).exp()[:, None]
