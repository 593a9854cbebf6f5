"""Pixel-adaptive refinement (PAR): a cheap local stand-in for a CRF inside training loops.

Ru et al., "Learning Affinity from Attention" (CVPR 2022), section 3.4. Each pixel becomes the mean
of 48 neighbours (8 directions at 6 distances), weighted by how alike their colours are, measured in
the neighbourhood's own spread, and a little by how near they are.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from wsss.crf.inputs import Problem
from wsss.crf.segment_sums import bag_sums

DILATIONS = (1, 2, 4, 8, 12, 24)
SHARPNESS = 0.3  # the paper's w₁: spreads a difference is divided by
POSITION_WEIGHT = 0.01  # the paper's w₂
EPSILON = 1e-8  # a flat neighbourhood has no spread


@lru_cache(maxsize=1)
def _steps() -> tuple[tuple[int, int], ...]:
    directions = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    return tuple((d * y, d * x) for d in DILATIONS for y, x in directions)


def solve(problem: Problem, iterations: int, downsample: int) -> Tensor:
    """Refined probabilities, differentiable with respect to the given ones.

    Args:
        problem: the image; a compatibility is not used.
        iterations: how often to average.
        downsample: how many times smaller to compute it.

    Returns:
        (L, H, W), each pixel summing to 1 over the labels.
    """
    probs = problem.log_probs.softmax(0)
    _, height, width = probs.shape
    size = (-(-height // downsample), -(-width // downsample))
    image = problem.image.to(probs.dtype)
    if downsample > 1:
        image = interpolate(image[None], size, mode="bilinear")[0]
        probs = interpolate(probs[None], size, mode="bilinear")[0]
    index = _neighbours(size, probs.device)
    weights = _affinity(image, index)
    offsets = torch.arange(0, index.numel() + 1, index.shape[1], device=index.device)
    rows = probs.flatten(1).t().contiguous()
    for _ in range(iterations):
        rows = bag_sums(rows, index.view(-1), weights.view(-1), offsets)
    refined = rows.t().reshape(-1, *size)
    if downsample > 1:
        refined = interpolate(refined[None], (height, width), mode="bilinear")[0]
    return refined


def _neighbours(size: tuple[int, int], device: torch.device) -> Tensor:
    """(N, 48) int64: the pixels around each pixel, those beyond the border at the border."""
    height, width = size
    steps = torch.tensor(_steps(), device=device)
    y = (torch.arange(height, device=device)[:, None] + steps[:, 0]).clamp(0, height - 1)
    x = (torch.arange(width, device=device)[:, None] + steps[:, 1]).clamp(0, width - 1)
    return (y[:, None] * width + x[None]).reshape(height * width, -1)


def _affinity(image: Tensor, index: Tensor) -> Tensor:
    """(N, 48) weights of the neighbours, summing to 1.

    softmax(mean over colours of −(|I_i − I_j| / (w₁·σ_i))²) + w₂·softmax(−(|p_i − p_j| / (w₁·σ))²),
    divided by its sum 1 + w₂, so that probabilities stay such.
    """
    pixels = image.flatten(1)
    likeness: Tensor = torch.zeros((), dtype=image.dtype, device=image.device)
    for channel in pixels:
        around = channel.index_select(0, index.view(-1)).view_as(index)
        spread = around.std(1, keepdim=True) + EPSILON
        likeness = likeness - ((around - channel[:, None]) / (SHARPNESS * spread)).square()
    steps = torch.tensor(_steps(), dtype=image.dtype, device=image.device)
    distance = steps.square().sum(1).sqrt()
    nearness = -(distance / (SHARPNESS * (distance.std() + EPSILON))).square()
    weights = (likeness / len(pixels)).softmax(1) + POSITION_WEIGHT * nearness.softmax(0)
    return weights / (1 + POSITION_WEIGHT)
