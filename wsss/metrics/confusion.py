"""One confusion matrix over a whole split, and the scores that follow from it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.errors import WsssError
from wsss.labels import IGNORE_INDEX

Mask = NDArray[np.integer] | torch.Tensor
Counts = NDArray[np.int64]
Unsure = Literal["background", "wrong", "skipped"]


@dataclass(frozen=True)
class SegmentationScores:
    """Scores as fractions in [0, 1].

    Attributes:
        iou: (C,) intersection over union; nan for a class in neither target nor prediction.
        miou: mean of `iou` over the classes that have one; nan if none has.
        pixel_accuracy: share of the valid target pixels that are right; nan if there are none.
    """

    iou: NDArray[np.float64]
    miou: float
    pixel_accuracy: float


def ratios(parts: Counts, wholes: Counts) -> NDArray[np.float64]:
    """Counts over counts of the same shape; nan where nothing was counted."""
    return np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)


def mean_known(values: Sequence[float] | NDArray[np.float64]) -> float:
    """The mean of the values but nan; nan where there is none."""
    found = np.asarray(values, np.float64)
    found = found[~np.isnan(found)]
    return float(found.mean()) if found.size else float("nan")


class ConfusionMatrix:
    """Counts of (target class, predicted class) over a split, VOC's way.

    IoU = diagonal / (row sum + column sum − diagonal), summed over all images before dividing
    (Everingham et al. 2010), pixels whose target is 255, void, left out.

    Attributes:
        matrix: (C, C) int64; row = target, column = prediction. Predictions of 255 are counted in
            `undecided` alone.
        undecided: (C,) int64; target pixels of each class where the prediction was 255.
    """

    def __init__(self, num_classes: int, *, unsure: Unsure = "wrong") -> None:
        """Starts from zero.

        Args:
            num_classes: C, background included.
            unsure: what a predicted 255 counts as: class 0; an error, which enters its target's
                row sum and no column; or nothing, which flatters masks that leave out what is
                hard.
        """
        if num_classes > IGNORE_INDEX:
            raise ValueError(f"{num_classes} classes, of which 255, void, is none")
        if unsure not in get_args(Unsure):
            raise ValueError(f"unsure is {unsure!r}; expected one of {', '.join(get_args(Unsure))}")
        self.num_classes = num_classes
        self.unsure = unsure
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.undecided = np.zeros(num_classes, np.int64)

    def update(self, target: Mask, pred: Mask) -> None:
        """Adds an image or a batch.

        Args:
            target: (H, W) or (B, H, W) integers in 0..C−1, or 255.
            pred: the same shape and range.

        Raises:
            WsssError: shapes differ, or a value is not a class.
        """
        if tuple(target.shape) != tuple(pred.shape):
            raise WsssError(
                f"A target of shape {tuple(target.shape)} was compared with a prediction of shape "
                f"{tuple(pred.shape)}; expected both at the image's size: recompute the masks."
            )
        rows, columns = self._flat(target, "target"), self._flat(pred, "prediction")
        size = self.num_classes + 1  # the last one holds 255
        counts = np.bincount(rows * size + columns, minlength=size * size).reshape(size, size)
        self.matrix += counts[:-1, :-1]
        self.undecided += counts[:-1, -1]

    def _flat(self, mask: Mask, role: str) -> NDArray[np.int64]:
        """(pixels,) with 255 renamed C, after a check of the range."""
        array = (mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else mask).ravel()
        ignored = array == IGNORE_INDEX
        strange = ((array < 0) | (array >= self.num_classes)) & ~ignored
        if strange.any():
            raise WsssError(
                f"A {role} mask holds the value {array[strange][0]}; expected classes "
                f"0..{self.num_classes - 1} or {IGNORE_INDEX}: check the list of classes."
            )
        return np.where(ignored, self.num_classes, array.astype(np.int64))

    @property
    def counts(self) -> tuple[NDArray[np.int64], ...]:
        """All that was counted: arrays that add up over parts of a split."""
        return self.matrix, self.undecided

    def merge(self, other: "ConfusionMatrix") -> None:
        """Adds the counts of another part of the split (another shard or rank)."""
        if other.num_classes != self.num_classes:
            raise ValueError("merging confusion matrices of different classes")
        self.matrix += other.matrix
        self.undecided += other.undecided

    def counted(self, unsure: Unsure) -> "ConfusionMatrix":
        """The same counts, with another meaning of a predicted 255."""
        other = ConfusionMatrix(self.num_classes, unsure=unsure)
        other.merge(self)
        return other

    def areas(self) -> tuple[Counts, Counts, Counts]:
        """(C,) pixels that are right, of the target, and of the prediction."""
        right, true, found = self.matrix.diagonal().copy(), self.matrix.sum(1), self.matrix.sum(0)
        if self.unsure != "skipped":
            true += self.undecided
        if self.unsure == "background":
            right[0] += self.undecided[0]
            found[0] += self.undecided.sum()
        return right, true, found

    def compute(self) -> SegmentationScores:
        """The scores of everything added so far."""
        right, true, found = self.areas()
        iou = ratios(right, true + found - right)
        pixels = int(true.sum())
        accuracy = float(right.sum() / pixels) if pixels else float("nan")
        return SegmentationScores(iou, mean_known(iou), accuracy)
