"""Every threshold of score maps at once: one histogram instead of a confusion matrix for each."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.labels import IGNORE_INDEX
from wsss.metrics.confusion import ConfusionMatrix


class ThresholdSweep:
    """Counts of (target class, highest class, interval of its score) over a split.

    At a threshold t a pixel is predicted as its highest class where that class scores more than t,
    and as background elsewhere.

    Attributes:
        thresholds: T of them, rising.
        joint: (L, L, T + 1) int64; the last axis says how many thresholds a score exceeds.
    """

    def __init__(self, labels: int, thresholds: Sequence[float]) -> None:
        """Starts from zero; `labels` counts background."""
        self.thresholds = tuple(thresholds)
        self.joint = np.zeros((labels, labels, len(self.thresholds) + 1), np.int64)

    def update(self, target: NDArray[np.uint8], scores: Tensor, labels: Tensor) -> None:
        """Add an image.

        Args:
            target: (H, W), 255 ignored.
            scores: (C, H, W).
            labels: (C,) mask value of every channel.
        """
        truth = torch.from_numpy(target).to(scores.device).long().flatten()
        if len(scores):
            best, index = scores.flatten(1).max(dim=0)
            highest = labels.to(scores.device).long()[index]
        else:
            best, highest = torch.zeros(len(truth), device=scores.device), torch.zeros_like(truth)
        limits = torch.tensor(self.thresholds, dtype=best.dtype, device=best.device)
        exceeded = torch.bucketize(best, limits)
        size = self.joint.shape
        cells = ((truth * size[1] + highest) * size[2] + exceeded)[truth != IGNORE_INDEX]
        counts = torch.bincount(cells, minlength=self.joint.size)
        self.joint += counts.view(size).cpu().numpy()

    @property
    def counts(self) -> tuple[NDArray[np.int64], ...]:
        """All that was counted: arrays that add up over parts of a split."""
        return (self.joint,)

    def confusion(self, position: int) -> ConfusionMatrix:
        """The confusion matrix at the threshold of this position."""
        found = ConfusionMatrix(len(self.joint))
        found.matrix = self.joint[:, :, position + 1 :].sum(axis=2)
        found.matrix[:, 0] += self.joint[:, :, : position + 1].sum(axis=(1, 2))
        return found

    def best(self) -> tuple[float, float]:
        """The threshold of the highest mIoU, and that mIoU; nan where nothing was counted."""
        means = [self.confusion(k).compute().miou for k in range(len(self.thresholds))]
        if np.isnan(means).all():
            return float("nan"), float("nan")
        highest = int(np.nanargmax(means))
        return self.thresholds[highest], means[highest]
