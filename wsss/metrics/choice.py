"""Choosing among recipes by a few masks that are right, and what the choice is worth. Pure.

A recipe's result on an image is three areas per class: intersection with the target, prediction and
target, in pixels. A choice made on the very images that it is scored on flatters itself, so every
image is scored by what is chosen without it.
"""

import numpy as np
from numpy.typing import NDArray

from wsss.labels import IGNORE_INDEX

Areas = NDArray[np.int64]
"""(…, 3, C): pixels of intersection, prediction and target of every class."""


def areas(target: NDArray[np.uint8], mask: NDArray[np.uint8], classes: int) -> Areas:
    """The areas of a mask.

    Args:
        target: (H, W) values below C; 255 is ignored.
        mask: (H, W); 255 is no class.
        classes: C, background included.

    Returns:
        (3, C).
    """
    valid = target != IGNORE_INDEX
    wanted, found = target[valid], mask[valid]
    counted = [found[found == wanted], found, wanted]
    return np.stack([np.bincount(one, minlength=256)[:classes] for one in counted])


def mean_iou(found: Areas) -> NDArray[np.float64]:
    """MIoU of areas (…, 3, C) over the classes in target or prediction; 0 where there is none."""
    iou = class_iou(found)
    known = ~np.isnan(iou)
    return np.where(known, iou, 0).sum(-1) / np.maximum(known.sum(-1), 1)


def class_iou(found: Areas) -> NDArray[np.float64]:
    """IoU by class of areas (…, 3, C): (…, C), nan for what is in neither."""
    shared, union = found[..., 0, :], found[..., 1, :] + found[..., 2, :] - found[..., 0, :]
    return np.where(union > 0, shared / np.maximum(union, 1), np.nan)


def best(found: Areas) -> int:
    """The recipe with the highest mIoU over all images; the first of equals.

    Args:
        found: (R, N, 3, C) of R recipes on N images.
    """
    return int(mean_iou(found.sum(axis=1)).argmax())


def best_without_each(found: Areas) -> list[int]:
    """For each of N images the recipe that is best on the others; found is (R, N, 3, C)."""
    others = found.sum(axis=1, keepdims=True) - found
    return [int(index) for index in mean_iou(others).argmax(axis=0)]


def best_levels(found: Areas, least: float = 0.02) -> NDArray[np.int64]:
    """For every class the level with the highest IoU, where it is clearly better than the middle.

    Args:
        found: (G, N, 3, C) of G levels, an odd number, the middle one the level as it was.
        least: what the IoU of a class has to gain.

    Returns:
        (C,) indices of levels; the middle one for a class in fewer than two images.
    """
    middle = len(found) // 2
    iou = np.nan_to_num(class_iou(found.sum(axis=1)))
    chosen = iou.argmax(axis=0)
    gain = iou.max(axis=0) - iou[middle]
    seen = (found[middle, :, 2] > 0).sum(axis=0)
    return np.where((gain >= least) & (seen >= 2), chosen, middle)
