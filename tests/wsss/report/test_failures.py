"""Kinds of failure by hand: ten pixels in a row, class 3 in the middle four."""

import numpy as np
import pytest

from wsss.report.failures import KINDS, against_tags, failures

TARGET = [0, 0, 0, 3, 3, 3, 3, 0, 0, 255]


@pytest.mark.parametrize(
    ("pred", "expected"),
    [
        ([0, 0, 0, 3, 3, 3, 3, 0, 0, 3], {}),
        ([3, 3, 0, 3, 3, 3, 3, 0, 0, 0], {"leak": 2 / 6}),
        ([0, 0, 0, 3, 0, 0, 0, 0, 0, 0], {"part": 3 / 4}),
        ([0, 0, 0, 3, 255, 255, 255, 0, 0, 0], {"part": 3 / 4}),
        ([0, 0, 0, 5, 5, 5, 3, 0, 0, 0], {"mixed": 3 / 4, "part": 3 / 4}),
        # neither right nor most of it
        ([3, 3, 3, 3, 0, 0, 0, 0, 0, 0], {}),
        ([0] * 10, {}),
    ],
)
def test_failures_by_hand(pred: list[int], expected: dict[str, float]) -> None:
    found = failures(np.array([pred], np.uint8), np.array([TARGET], np.uint8), [3])
    assert found == pytest.approx(expected)


def test_failures_of_small_objects_and_crowds() -> None:
    target = np.zeros((40, 50), np.uint8)
    target[0, :3] = 2
    for row in range(10, 40, 8):
        target[row : row + 4, :20] = 7
    pred = np.where(target == 2, 0, target)
    pred[:, 10:], pred[0, :2] = 0, 2
    found = failures(pred, target, [2, 7])
    assert found == pytest.approx({"small": 1 / 3, "crowd": 1 / 2})
    assert set(found) <= set(KINDS)
    # two of four touch, unless void parts them; a speck is not a piece
    target[14:18, :20] = 7
    target[5, 30] = 7
    assert "crowd" not in failures(pred, target, [2, 7])
    target[15] = 255
    assert "crowd" in failures(pred, target, [2, 7])


def test_failures_takes_the_worst_class_of_an_image() -> None:
    target = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 0]], np.uint8)
    pred = np.array([[1, 0, 0, 0, 2, 0, 0, 0, 0]], np.uint8)
    pred[0, 5] = 2
    assert failures(pred, target, [1, 2]) == {"part": 0.75}
    # a tag whose pixels are all unknown fails nowhere
    assert failures(pred, np.full_like(target, 255), [1]) == {}


def test_a_mask_against_the_tags_of_its_image() -> None:
    names = ["cat", "dog", "hen"]
    mask = np.zeros((10, 20), np.uint8)
    mask[:, :5], mask[0, 5], mask[1:3, 10] = 2, 1, 3
    # dog a quarter of the image, cat one pixel of 200, hen two
    assert against_tags(mask, [1], names) == (
        "false alarm: cat (0 % of the image), hen (1 % of the image)"
    )
    assert against_tags(mask, [1], names, least=0.1) == ""
    assert against_tags(np.zeros_like(mask), [0, 2], names) == "not found: cat, hen"
    assert against_tags(np.full_like(mask, 255), [], names) == ""
