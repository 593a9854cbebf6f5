"""IoU by the area of what is to be found, in COCO's bins. Pure.

The mean over a split is governed by large regions, which hold most of the pixels.
"""

import numpy as np
from numpy.typing import NDArray

from wsss.metrics.confusion import ConfusionMatrix, mean_known, ratios

BINS = ("small", "medium", "large")
LIMITS = (32**2, 96**2)
"""Pixels from which a region is medium, and large (Lin et al., "Microsoft COCO", ECCV 2014)."""


class AreaBinnedIoU:
    """IoU of each class, apart for images in which it is small, medium and large.

    COCO's limits are of instances; a semantic mask holds none, so here they are of the whole region
    of a class in an image, at the image's own size, without void. Where the target has none of a
    class that is predicted, the predicted region's area counts: so each pixel falls in one bin, and
    a class's bins add up to its intersection and union over the split.

    Attributes:
        regions: (3, C) int64, images whose target has the class, by its area.
        both: (3, C) int64, pixels of the intersections.
        either: (3, C) int64, pixels of the unions.
    """

    def __init__(self, num_classes: int) -> None:
        """Starts from zero; `num_classes` counts background."""
        shape = (len(BINS), num_classes)
        self.regions, self.both, self.either = (np.zeros(shape, np.int64) for _ in range(3))

    def update(self, image: ConfusionMatrix) -> None:
        """Adds an image, by its own confusion matrix."""
        right, true, found = image.areas()
        bins = np.digitize(np.where(true > 0, true, found), LIMITS)
        classes = np.arange(len(bins))
        self.regions[bins, classes] += true > 0
        self.both[bins, classes] += right
        self.either[bins, classes] += true + found - right

    @property
    def counts(self) -> tuple[NDArray[np.int64], ...]:
        """All that was counted: arrays that add up over parts of a split."""
        return self.regions, self.both, self.either

    def compute(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(3, C) IoU, nan where a bin has nothing of a class, and (3,) its mean over classes.

        Background is left out of the mean: its area says nothing about objects.
        """
        iou = ratios(self.both, self.either)
        return iou, np.array([mean_known(row) for row in iou[:, 1:]])
