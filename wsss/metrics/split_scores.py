"""The scores of one set of masks, gathered image by image, as `evaluate` writes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsss.labels import BACKGROUND, IGNORE_INDEX
from wsss.metrics.area_bins import BINS, AreaBinnedIoU
from wsss.metrics.boundary import BoundaryIoU
from wsss.metrics.confusion import ConfusionMatrix, Unsure, mean_known
from wsss.metrics.protocols import COUNTINGS

Mask = NDArray[np.uint8]


class SplitScores:
    """Confusion matrix, boundary IoU and IoU by area over a split, and the worst images.

    Attributes:
        confusion: over the split.
        mious: index of an image in its split → its mIoU by itself; nan for one all void.
    """

    def __init__(self, class_names: Sequence[str], unsure: Unsure = "wrong") -> None:
        """Starts from zero.

        Args:
            class_names: foreground classes.
            unsure: what a predicted 255 counts as, as `ConfusionMatrix` has it.
        """
        self.names = (BACKGROUND, *class_names)
        self.unsure = unsure
        self.confusion = ConfusionMatrix(len(self.names), unsure=unsure)
        self.boundary = BoundaryIoU(len(self.names))
        self.areas = AreaBinnedIoU(len(self.names))
        self.mious: dict[int, float] = {}

    def update(self, target: Mask, pred: Mask, index: int | None = None) -> None:
        """Adds an image.

        Args:
            target: (H, W) class indices, 255 where void.
            pred: the same, 255 where not confident.
            index: of the image in the split; the next where images come in order.

        Raises:
            WsssError: shapes differ, or a value is not a class.
        """
        alone = ConfusionMatrix(len(self.names), unsure=self.unsure)
        alone.update(target, pred)
        self.mious[len(self.mious) if index is None else index] = alone.compute().miou
        self.confusion.merge(alone)
        self.areas.update(alone)
        if self.unsure == "background":
            pred = np.where(pred == IGNORE_INDEX, 0, pred).astype(np.uint8)
        self.boundary.update(target, pred)

    @property
    def counts(self) -> tuple[NDArray[np.int64], ...]:
        """All that was counted: arrays that add up over parts of a split."""
        boundary = self.boundary.both, self.boundary.either
        return *self.confusion.counts, *boundary, *self.areas.counts

    def summary(self) -> dict[str, Any]:
        """Every figure, as fractions; None for a class that never occurred."""
        iou, miou = self.boundary.compute()
        return {
            **summary(self.confusion, self.names),
            "images": len(self.mious),
            "image_miou": known(mean_known([miou for _, miou in sorted(self.mious.items())])),
            "areas": self._by_area(),
            "boundary_miou": known(miou),
            "boundary_iou": _by_class(iou, self.names),
        }

    def _by_area(self) -> dict[str, Any]:
        iou, means = self.areas.compute()
        return {
            name: {
                "miou": known(means[i]),
                "regions": int(self.areas.regions[i, 1:].sum()),
                "iou": _by_class(iou[i], self.names),
            }
            for i, name in enumerate(BINS)
        }

    def worst(self, count: int) -> list[int]:
        """Indices of the images with the lowest mIoU by themselves, the lowest first."""
        known = [i for i, miou in self.mious.items() if not np.isnan(miou)]
        return sorted(known, key=lambda i: (self.mious[i], i))[:count]


def summary(confusion: ConfusionMatrix, names: Sequence[str]) -> dict[str, Any]:
    """MIoU, IoU by class and pixel accuracy of a confusion matrix; `names` with background.

    Beside them the mIoU as published evaluations count it, and the share of predicted 255.

    None stands for what has no pixel to count, such as a class that never occurred.
    """
    scores = confusion.compute()
    return {
        "miou": known(scores.miou),
        "iou": _by_class(scores.iou, names),
        "pixel_accuracy": known(scores.pixel_accuracy),
        "countings": {name: known(c.miou(confusion)) for name, c in COUNTINGS.items()},
        "unsure": confusion.undecided.sum() / pixels if (pixels := _pixels(confusion)) else None,
    }


def _pixels(confusion: ConfusionMatrix) -> int:
    return int(confusion.matrix.sum() + confusion.undecided.sum())


def known(value: float) -> float | None:
    """A figure; None for nan, which JSON doesn't have."""
    return None if np.isnan(value) else float(value)


def _by_class(values: NDArray[np.float64], names: Sequence[str]) -> dict[str, float | None]:
    return {name: known(value) for name, value in zip(names, values, strict=True)}
