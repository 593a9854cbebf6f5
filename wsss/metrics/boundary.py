"""Boundary IoU over a whole split: the same pixels counted, but only those near a contour. Pure.

Mask IoU hardly moves when the edge of a large object is drawn badly; this one does.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]


def band(inside: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """The pixels of a region at most `distance` steps (king's moves) from its outside.

    Args:
        inside: (H, W), the region; what lies beyond the image is outside.
        distance: at least 1.

    Returns:
        (H, W), a part of `inside`.
    """
    # OpenCV pads an erosion with "inside" unless the border is written down
    framed = np.pad(inside.astype(np.uint8), 1)
    core = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=distance)[1:-1, 1:-1]
    return inside & (core == 0)


class BoundaryIoU:
    """IoU of the bands along the contours of target and prediction, summed over all images.

    For each class: |band(T) ∩ band(P)| / |band(T) ∪ band(P)|, the bands as wide as 2 % of the
    image's diagonal (Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation
    Evaluation", CVPR 2021). Pixels whose target is void are cut out of the prediction first, so
    that a perfect prediction scores 1 although VOC draws void along every contour.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, width: float = 0.02) -> None:
        """Starts from zero.

        Args:
            num_classes: C, background included.
            ignore_index: void in a target; in a prediction it belongs to no class.
            width: of the bands, as a share of the diagonal; never less than one pixel.
        """
        self.ignore_index = ignore_index
        self.width = width
        self.both = np.zeros(num_classes, np.int64)
        self.either = np.zeros(num_classes, np.int64)

    def update(self, target: Mask, pred: Mask) -> None:
        """Adds an image: (H, W) class indices or `ignore_index`, both of one size."""
        distance = max(1, round(self.width * math.hypot(*target.shape)))
        pred = np.where(target == self.ignore_index, self.ignore_index, pred)
        for label in np.union1d(np.unique(target), np.unique(pred)).tolist():
            if label != self.ignore_index:
                true, found = band(target == label, distance), band(pred == label, distance)
                self.both[label] += np.count_nonzero(true & found)
                self.either[label] += np.count_nonzero(true | found)

    def compute(self) -> tuple[NDArray[np.float64], float]:
        """(C,) in [0, 1], nan for a class that never occurred, and the mean over the others."""
        nothing = np.full(len(self.both), np.nan)
        iou = np.divide(self.both, self.either, out=nothing, where=self.either > 0)
        present = self.either > 0
        return iou, float(iou[present].mean()) if present.any() else float("nan")
