"""A simulated annotator: where the next click goes, and how good an image's mask is.

After the protocol of interactive segmentation (Sofiiuk et al., "Reviving Iterative Training with
Mask Guidance for Interactive Segmentation", ICIP 2022), with several classes: the click goes to the
middle of the largest wrong region and says what is there.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss.labels import IGNORE_INDEX

Mask = NDArray[np.uint8]


class Place(NamedTuple):
    """A pixel and the label that is right there."""

    x: int
    y: int
    label: int


def next_click(target: Mask, mask: Mask) -> Place | None:
    """The pixel farthest from the edge of the largest connected region that is wrong alike.

    A region is of one true label; the image's edge is an edge of it, and so is void. Among equally
    large ones the lowest label's comes first, among equally far pixels the topmost, then leftmost.

    Args:
        target: (H, W), the true labels, 255 void.
        mask: (H, W); a 255 is wrong wherever the target isn't void.

    Returns:
        None where nothing is wrong.
    """
    largest, label, region = 0, 0, np.zeros(0, bool)
    for one in np.unique(target[(target != mask) & (target != IGNORE_INDEX)]).tolist():
        wrong = ((target == one) & (mask != one)).astype(np.uint8)
        _, parts, stats, _ = cv2.connectedComponentsWithStats(wrong, connectivity=4)
        areas = stats[1:, cv2.CC_STAT_AREA]
        if areas.max() > largest:
            largest, label = int(areas.max()), one
            region = parts == 1 + int(areas.argmax())
    if largest == 0:
        return None
    inside = cv2.distanceTransform(np.pad(region.astype(np.uint8), 1), cv2.DIST_L2, 5)[1:-1, 1:-1]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return Place(int(x), int(y), label)


def image_iou(target: Mask, mask: Mask) -> float:
    """The mean IoU, in [0, 1], over the labels in an image's target or mask, background included.

    Args:
        target: (H, W), 255 left out.
        mask: (H, W); a 255 is wrong.
    """
    known = target != IGNORE_INDEX
    true, found = target[known], mask[known]
    labels = set(np.unique(true).tolist()) | set(np.unique(found).tolist()) - {IGNORE_INDEX}
    ious = [
        np.count_nonzero((true == label) & (found == label))
        / np.count_nonzero((true == label) | (found == label))
        for label in labels
    ]
    return float(np.mean(ious)) if ious else float("nan")
