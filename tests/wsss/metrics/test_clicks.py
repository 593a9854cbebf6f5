"""The simulated annotator, on masks of a few pixels."""

import numpy as np
import pytest

from wsss.metrics.clicks import Place, image_iou, next_click

TARGET = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 2, 0],
        [0, 1, 1, 1, 0, 2, 0],
        [0, 1, 1, 1, 0, 2, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    np.uint8,
)


def test_next_click_is_the_middle_of_the_largest_wrong_region() -> None:
    assert next_click(TARGET, np.zeros_like(TARGET)) == Place(2, 2, 1)
    assert next_click(TARGET, np.where(TARGET == 1, TARGET, 0)) == Place(5, 1, 2)


def test_next_click_says_background_where_an_object_is_too_large() -> None:
    mask = TARGET.copy()
    mask[:, 4] = 1
    assert next_click(TARGET, mask) == Place(4, 0, 0)


def test_next_click_ends_where_nothing_but_void_is_wrong() -> None:
    target = TARGET.copy()
    target[0] = 255
    mask = TARGET.copy()
    mask[0] = 7
    assert next_click(target, mask) is None


def test_next_click_parts_regions_of_different_labels() -> None:
    target = np.array([[1, 1, 2, 2, 2]], np.uint8)
    assert next_click(target, np.zeros_like(target)) == Place(2, 0, 2)


def test_next_click_counts_unsure_pixels_as_wrong() -> None:
    assert next_click(TARGET, np.where(TARGET == 2, 255, TARGET)) == Place(5, 1, 2)


def test_image_iou_is_the_mean_over_its_labels_without_void() -> None:
    target = np.array([[0, 0, 1, 255]], np.uint8)
    assert image_iou(target, target) == 1
    assert image_iou(target, np.array([[0, 1, 1, 3]], np.uint8)) == 0.5
    assert image_iou(target, np.array([[0, 0, 255, 1]], np.uint8)) == 0.5
    assert image_iou(target, np.array([[0, 0, 3, 1]], np.uint8)) == pytest.approx(1 / 3)
