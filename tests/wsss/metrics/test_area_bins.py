"""IoU by area on regions whose pixels can be counted, and against the whole confusion matrix."""

import numpy as np
import pytest

from wsss.metrics.area_bins import AreaBinnedIoU
from wsss.metrics.confusion import ConfusionMatrix, Unsure


def image(target: np.ndarray, pred: np.ndarray, unsure: Unsure = "wrong") -> ConfusionMatrix:
    confusion = ConfusionMatrix(3, unsure=unsure)
    confusion.update(target, pred)
    return confusion


def row(pixels: int, region: int, label: int) -> np.ndarray:
    mask = np.zeros((1, pixels), np.uint8)
    mask[0, :region] = label
    return mask


def test_area_bins_of_regions_by_hand() -> None:
    bins = AreaBinnedIoU(3)
    bins.update(image(row(20000, 1023, 1), row(20000, 500, 1)))  # small
    bins.update(image(row(20000, 1024, 1), row(20000, 2048, 1)))  # medium
    bins.update(image(row(20000, 9215, 1), row(20000, 0, 1)))  # medium, missed
    bins.update(image(row(20000, 9216, 1), row(20000, 9216, 1)))  # large
    bins.update(image(row(20000, 0, 1), row(20000, 100, 2)))  # a false alarm of 100 pixels
    iou, means = bins.compute()
    np.testing.assert_array_equal(iou[:, 1], [500 / 1023, 1024 / (2048 + 9215), 1])
    np.testing.assert_array_equal(iou[:, 2], [0, np.nan, np.nan])
    np.testing.assert_array_equal(bins.regions[:, 1:], [[1, 0], [2, 0], [1, 0]])
    np.testing.assert_array_equal(means, [500 / 1023 / 2, iou[1, 1], 1])


@pytest.mark.parametrize("unsure", ["background", "wrong", "skipped"])
def test_area_bins_add_up_to_the_confusion_matrix(unsure: Unsure) -> None:
    rng = np.random.default_rng(0)
    whole, bins = ConfusionMatrix(3, unsure=unsure), AreaBinnedIoU(3)
    for _ in range(12):
        side = int(rng.integers(10, 260))
        target, pred = (rng.choice([0, 1, 2, 255], (side, side)) for _ in range(2))
        target[pred == int(rng.integers(0, 3))] = 0
        alone = image(target, pred, unsure)
        whole.merge(alone)
        bins.update(alone)
    right, true, found = whole.areas()
    np.testing.assert_array_equal(bins.both.sum(0), right)
    np.testing.assert_array_equal(bins.either.sum(0), true + found - right)
    assert (bins.either.sum(1) > 0).all()
