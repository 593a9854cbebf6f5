"""Boundary IoU on masks that can be counted by hand, and against distances computed otherwise."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_cdt

from wsss.metrics.boundary import BoundaryIoU, bands


def band(inside: np.ndarray, distance: int) -> np.ndarray:  # type: ignore[type-arg]
    """The band of one region among others."""
    return inside & bands(inside.astype(np.uint8), distance)


def square(size: int, top: int, left: int, side: int) -> np.ndarray:  # type: ignore[type-arg]
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


def test_band_is_the_rim_and_the_images_edge_is_a_contour() -> None:
    inside = np.ones((5, 6), bool)
    expected = inside.copy()
    expected[1:-1, 1:-1] = False
    assert np.array_equal(band(inside, 1), expected)
    assert np.array_equal(band(inside, 3), inside)


@pytest.mark.parametrize("distance", [1, 2, 5])
def test_band_is_what_lies_within_the_distance(distance: int) -> None:
    inside = np.random.default_rng(0).random((40, 30)) < 0.97
    steps = distance_transform_cdt(np.pad(inside, 1), metric="chessboard")[1:-1, 1:-1]
    assert np.array_equal(band(inside, distance), inside & (steps <= distance))


def test_boundary_iou_of_a_square_one_pixel_off() -> None:
    # bands one pixel wide: the diagonal of 20 × 20 is 28.3, 2 % of it less than one
    score = BoundaryIoU(2)
    score.update(square(20, 5, 5, 6), square(20, 5, 6, 6))
    iou, mean = score.compute()
    # rims of 20 pixels each; they share five pixels of the top and of the bottom side
    assert iou[1] == pytest.approx(10 / 30)
    # outer rims: the edge of the image, 76 pixels, in both; around the squares 28 each
    # (8 × 8 − 6 × 6, no corner left out), of which the top and bottom rows share 7 each
    assert iou[0] == pytest.approx((76 + 14) / (76 + 42))
    assert mean == pytest.approx(iou.mean())


@pytest.mark.parametrize(("size", "rim"), [(20, 1), (100, 3), (400, 11)])
def test_boundary_iou_takes_two_per_cent_of_the_diagonal(size: int, rim: int) -> None:
    # a prediction that lacks all but the rim is perfect for as long as the band is no wider
    target = np.ones((size, size), np.uint8)
    for width, perfect in ((rim, True), (rim - 1, False)):
        pred = np.full_like(target, 255)
        pred[band(target == 1, width) if width else np.zeros_like(target, bool)] = 1
        score = BoundaryIoU(2)
        score.update(target, pred)
        assert (score.compute()[0][1] == 1) == perfect


def test_boundary_iou_cuts_void_out_of_the_prediction() -> None:
    target = square(60, 20, 20, 20)
    ring = square(60, 18, 18, 24) - target
    target[ring == 1] = 255
    for grown in (square(60, 20, 20, 20), square(60, 18, 18, 24), square(60, 19, 18, 22)):
        score = BoundaryIoU(2)
        score.update(target, grown)
        assert score.compute()[1] == 1


def test_boundary_iou_counts_the_whole_split_and_skips_absent_classes() -> None:
    score = BoundaryIoU(4)
    blank = np.zeros((20, 20), np.uint8)
    score.update(square(20, 5, 5, 6), blank)
    score.update(2 * square(20, 5, 5, 6), 2 * square(20, 5, 5, 6))
    iou, mean = score.compute()
    assert iou[1] == 0 and iou[2] == 1 and np.isnan(iou[3])
    assert mean == pytest.approx(np.nanmean(iou))


def test_boundary_iou_of_unsure_pixels() -> None:
    score = BoundaryIoU(2)
    score.update(square(20, 5, 5, 6), np.full((20, 20), 255, np.uint8))
    assert score.compute()[0].tolist() == [0, 0]
    assert np.isnan(BoundaryIoU(2).compute()[1])


def test_bands_are_those_of_each_label_by_itself() -> None:
    mask = np.random.default_rng(1).choice([0, 1, 7, 255], (6, 5)).astype(np.uint8)
    mask = np.kron(mask, np.ones((9, 9), np.uint8))
    for distance in (1, 3, 8):
        found = bands(mask, distance)
        for label in (0, 1, 7, 255):
            inside = mask == label
            steps = distance_transform_cdt(np.pad(inside, 1), metric="chessboard")[1:-1, 1:-1]
            assert np.array_equal(found & inside, inside & (steps <= distance))
