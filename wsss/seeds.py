"""Seeds: class activation carried through the slots, and where it outdoes the background."""

from collections.abc import Mapping

import torch
from torch import Tensor

from glmix.clustering import SlotAssignment, dispatch_weights
from wsss.cam import resize
from wsss.walk import min_max, symmetric_walk


def slot_seeds(
    cam: Tensor, assignments: Mapping[str, SlotAssignment], walks: Mapping[str, int]
) -> Tensor:
    """Class activation after walks through the slots of chosen blocks, averaged.

    Every walk runs on its block's own grid; its result is scaled to 0…1 a class.

    Args:
        cam: (B, C, h, w), non-negative, before normalisation.
        assignments: block name (stride.index) → assignment with logits (B, K, N).
        walks: block name → steps.

    Returns:
        (B, C, h', w') in 0…1, on the finest grid among the blocks.
    """
    grids = [assignments[name].grid for name in walks]
    finest = max(grids)
    total = torch.zeros(*cam.shape[:2], *finest, device=cam.device)
    for name, steps in walks.items():
        chosen = assignments[name]
        scores = resize(cam, chosen.grid).flatten(2)
        walked = symmetric_walk(scores, dispatch_weights(chosen.logits.float()), steps)
        total += resize(min_max(walked.unflatten(2, chosen.grid)), finest)
    return total / len(walks)


def otsu_threshold(scores: Tensor, bins: int = 128) -> Tensor:
    """The threshold that best parts each channel's values in two (Otsu 1979), per channel.

    Args:
        scores: (C, h, w) in 0…1.
        bins: of the histogram.

    Returns:
        (C,), in 0…1.
    """
    flat = (scores.flatten(1) * bins).long().clamp(0, bins - 1)
    histogram = torch.zeros(len(scores), bins, device=scores.device, dtype=torch.float64)
    histogram.scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float64))
    centres = (torch.arange(bins, device=scores.device, dtype=torch.float64) + 0.5) / bins
    weight = histogram.cumsum(1)
    total = weight[:, -1:]
    mass = (histogram * centres).cumsum(1)
    between = (mass[:, -1:] * weight - mass * total) ** 2 / (weight * (total - weight)).clamp_min(
        1e-12
    )
    # among equal bests take the middle one: between two far peaks every cut is as good
    best = between >= between.amax(dim=1, keepdim=True) * (1 - 1e-9)
    index = (best * torch.arange(1, bins + 1, device=scores.device)).sum(1) / best.sum(1)
    return (index / bins).to(scores.dtype)


def margins(scores: Tensor, background: float | str, size: tuple[int, ...]) -> Tensor:
    """How much each class stands out: score − threshold, at the picture's size.

    Args:
        scores: (C, h, w) in 0…1.
        background: threshold in 0…1, or `otsu` for Otsu's of every class.
        size: (H, W).

    Returns:
        (C, H, W), positive where the class outdoes the background.
    """
    if background == "otsu":
        scores = scores - otsu_threshold(scores)[:, None, None]
    else:
        scores = scores - float(background)
    return resize(scores[None], (size[0], size[1]))[0]


def seed_mask(margins: Tensor, labels: Tensor) -> Tensor:
    """Hard seed: the class that stands out most, background where none does.

    Args:
        margins: (C, H, W), score − threshold.
        labels: (C,), mask value of every channel.

    Returns:
        (H, W) uint8.
    """
    if len(margins) == 0:
        return torch.zeros(margins.shape[1:], dtype=torch.uint8, device=margins.device)
    best, index = margins.max(dim=0)
    return torch.where(best > 0, labels[index], 0).to(torch.uint8)


def seed_probabilities(margins: Tensor, sharpness: float) -> Tensor:
    """Probabilities of background and classes: softmax of (0, sharpness · margin).

    Args:
        margins: (C, H, W), score − threshold.
        sharpness: slope; the background's logit is 0.

    Returns:
        (C + 1, H, W), background first, sums to 1.
    """
    background = margins.new_zeros(1, *margins.shape[1:])
    return torch.cat([background, sharpness * margins]).softmax(dim=0)
