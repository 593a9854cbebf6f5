"""Boundary IoU over a whole split: the same pixels counted, but only those near a contour. Pure.

Mask IoU hardly moves when the edge of a large object is drawn badly; this one does.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss.labels import IGNORE_INDEX
from wsss.metrics.confusion import mean_known, ratios

Mask = NDArray[np.uint8]
_WIDTH = 0.02  # of the bands, as a share of the diagonal; never less than one pixel


def bands(mask: Mask, distance: int) -> NDArray[np.bool_]:
    """The pixels at most `distance` steps (king's moves) from a pixel of another label.

    The bands of all labels at once: within that many steps the lowest and the highest label differ.

    Args:
        mask: (H, W), labels; what lies beyond the image is of another label.
        distance: at least 1.

    Returns:
        (H, W).
    """
    kernel, edge = np.ones((3, 3), np.uint8), cv2.BORDER_CONSTANT
    lowest = cv2.erode(mask, kernel, iterations=distance, borderType=edge, borderValue=[0])
    highest = cv2.dilate(mask, kernel, iterations=distance, borderType=edge, borderValue=[255])
    return np.asarray(lowest != highest)


class BoundaryIoU:
    """IoU of the bands along the contours of target and prediction, summed over all images.

    For each class: |band(T) ∩ band(P)| / |band(T) ∪ band(P)|, the bands as wide as 2 % of the
    image's diagonal (Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation
    Evaluation", CVPR 2021). Pixels whose target is void are cut out of the prediction first, so
    that a perfect prediction scores 1 although VOC draws void along every contour.
    """

    def __init__(self, num_classes: int) -> None:
        """Starts from zero; `num_classes` counts background."""
        self.both = np.zeros(num_classes, np.int64)
        self.either = np.zeros(num_classes, np.int64)

    def update(self, target: Mask, pred: Mask) -> None:
        """Adds an image: (H, W) class indices or 255, both of one size."""
        distance = max(1, round(_WIDTH * math.hypot(*target.shape)))
        pred = np.where(target == IGNORE_INDEX, np.uint8(IGNORE_INDEX), pred)
        true, found = bands(target, distance), bands(pred, distance)
        both = _counts(target[true & found & (target == pred)], len(self.both))
        self.both += both
        self.either += _counts(target[true], len(both)) + _counts(pred[found], len(both)) - both

    def compute(self) -> tuple[NDArray[np.float64], float]:
        """(C,) in [0, 1], nan for a class that never occurred, and the mean over the others."""
        iou = ratios(self.both, self.either)
        return iou, mean_known(iou)


def _counts(labels: Mask, classes: int) -> NDArray[np.int64]:
    """(classes,) pixels of each; labels beyond are left out."""
    return np.bincount(labels, minlength=256)[:classes].astype(np.int64)
