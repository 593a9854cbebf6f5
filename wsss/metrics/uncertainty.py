"""How uncertain a mask is, from what made it: no true mask is asked. Pure.

Every part is a number in 0…1, larger where the mask is more likely wrong.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

PARTS: dict[str, str] = {
    "unsure": "1 − the mean over pixels of the likeliest label's probability",
    "views": "disagreement of scales and mirror image",
    "before": "disagreement with what the mask was made from: the plain CAM, or the former round",
    "refined": "what the CRF changed",
    "missing": "share of the tags without a region; by a classifier where no tags are given",
    "doubted": "how little the classifier believes in the least likely class of the mask",
    "area": "how unusual the areas are for their classes among all masks of the folder",
}
"""Parts of an uncertainty, in the order of their columns."""

LEAST_AREA = 0.001
"""Share of the image from which on a class counts as found."""
LEAST_MASKS = 8
"""Masks of a class from which on an area can be unusual."""


def unsure(probs: Tensor) -> Tensor:
    """1 − the mean of the largest probability; (L + 1, H, W), each pixel summing to 1 → scalar."""
    return 1 - probs.amax(dim=0).mean()


def disagreement(first: Tensor, second: Tensor, labels: int) -> Tensor:
    """1 − the mean IoU of two label maps over the labels that either has.

    Args:
        first: (H, W) integers in 0…`labels`.
        second: the same.
        labels: largest label.

    Returns:
        Scalar.
    """
    values = torch.arange(labels + 1, device=first.device)[:, None, None]
    one, other = first == values, second == values
    either = (one | other).flatten(1).sum(dim=1)
    both = (one & other).flatten(1).sum(dim=1)
    return 1 - (both / either.clamp_min(1))[either > 0].mean()


def areas(found: Tensor, labels: int) -> Tensor:
    """Share of the image that each label has; (H, W) integers → (`labels` + 1,)."""
    counts = torch.bincount(found.flatten().long(), minlength=labels + 1)[: labels + 1]
    return counts / found.numel()


def missing(shares: Sequence[float], expected: Sequence[float]) -> float:
    """The share of what is expected that isn't found.

    Args:
        shares: of the image, one a class.
        expected: how sure it is that the class is there, 0…1; 1 for a tag that was given.

    Returns:
        In 0…1; 0 where nothing is expected.
    """
    lost = sum(sure for share, sure in zip(shares, expected, strict=True) if share < LEAST_AREA)
    return lost / sum(expected) if sum(expected) > 0 else 0.0


def unusual_areas(masks: Sequence[Mapping[int, float]]) -> list[float]:
    """How far out each mask's areas lie among those of their classes.

    Of n areas of a class the k-th smallest, k = 0 … n − 1, gets |2k / (n − 1) − 1|: 0 for the
    median, 1 for the smallest and the largest.

    Args:
        masks: of each mask, label → share of the image.

    Returns:
        The mean over a mask's classes; 0 for classes with few masks, and without classes.
    """
    by_label: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for i, own in enumerate(masks):
        for label, share in own.items():
            by_label[label].append((i, share))
    found: list[list[float]] = [[] for _ in masks]
    for of_class in by_label.values():
        ranks = rankdata([share for _, share in of_class]) - 1
        scale = max(len(of_class) - 1, 1)
        for (i, _), rank in zip(of_class, ranks, strict=True):
            out = abs(2 * rank / scale - 1) if len(of_class) >= LEAST_MASKS else 0.0
            found[i].append(float(out))
    return [sum(own) / len(own) if own else 0.0 for own in found]


def combine(parts: Mapping[str, Sequence[float | None]]) -> NDArray[np.float64]:
    """The score of each mask: the mean of its parts' ranks among all masks.

    Args:
        parts: name → a value of each mask; None where a mask lacks the part.

    Returns:
        (n,) in 0…1.
    """
    ranks = []
    for values in parts.values():
        known = np.array([np.nan if value is None else value for value in values], np.float64)
        scale = max(int(np.isfinite(known).sum()) - 1, 1)
        ranks.append((rankdata(known, nan_policy="omit") - 1) / scale)
    table = np.array(ranks)
    counts = np.isfinite(table).sum(axis=0)
    return np.nansum(table, axis=0) / np.maximum(counts, 1)
