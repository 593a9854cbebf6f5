"""Choices among recipes, on areas small enough to check by hand."""

import numpy as np

from wsss.metrics.choice import areas, best, best_levels, best_without_each, class_iou, mean_iou


def of_ious(*ious: tuple[int, int]) -> np.ndarray:  # type: ignore[type-arg]
    """(3, C) areas of classes with a target of 10 pixels: (shared, predicted) of each."""
    return np.array([[s for s, _ in ious], [p for _, p in ious], [10] * len(ious)])


def test_areas_leave_out_void_and_count_unsure_as_missing() -> None:
    target = np.array([[0, 1, 1, 2, 255]], np.uint8)
    mask = np.array([[0, 1, 255, 1, 2]], np.uint8)
    assert areas(target, mask, 3).tolist() == [[1, 1, 0], [1, 2, 0], [1, 2, 1]]


def test_mean_iou_leaves_out_absent_classes() -> None:
    found = np.array([[5, 0, 0], [10, 4, 0], [5, 0, 0]])
    np.testing.assert_array_equal(class_iou(found), [0.5, 0, np.nan])
    assert mean_iou(found) == 0.25
    assert mean_iou(np.zeros((3, 2), np.int64)) == 0


def test_best_without_each_does_not_see_the_image() -> None:
    good, bad = of_ious((10, 10)), of_ious((1, 10))
    # the first recipe is best on all three only for the sake of the last image
    found = np.array([[bad, bad, of_ious((100, 100))], [good, good, bad]])
    found[0, 2, 2] = 100
    assert best(found) == 0
    assert best_without_each(found) == [0, 0, 1]


def test_best_levels_move_what_is_seen_twice_and_gains() -> None:
    less, same, more = ((10, 10), (5, 10), (5, 10)), ((5, 10),) * 3, ((5, 10), (5, 10), (10, 10))
    found = np.array([[of_ious(*g)] * 2 for g in (less, same, more)])
    assert best_levels(found).tolist() == [0, 1, 2]
    found[:, 1, :, 0] = 0  # the first class is in one image alone
    assert best_levels(found).tolist() == [1, 1, 2]
    assert best_levels(found, least=0.9).tolist() == [1, 1, 1]
