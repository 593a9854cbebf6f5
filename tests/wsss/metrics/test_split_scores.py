"""Scores of a set of masks on images that can be counted by hand."""

from typing import Literal

import numpy as np
import pytest

from wsss.errors import WsssError
from wsss.metrics.split_scores import SplitScores


def mask(*values: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([values], np.uint8)


def test_split_scores_of_three_images_by_hand() -> None:
    scores = SplitScores(["cat", "dog"])
    scores.update(mask(0, 0, 1, 1), mask(0, 0, 1, 1))
    scores.update(mask(0, 1, 1, 1), mask(0, 0, 0, 1))
    scores.update(mask(255, 255, 255, 255), mask(0, 1, 2, 0))
    found = scores.summary()
    assert found["images"] == 3 and found["pixel_accuracy"] == 6 / 8
    assert found["iou"] == {"background": 3 / 5, "cat": 3 / 5, "dog": None}
    assert found["miou"] == pytest.approx(3 / 5)
    # so small an image is all boundary
    assert found["boundary_iou"] == found["iou"] and found["boundary_miou"] == found["miou"]
    assert [scores.mious[0], scores.mious[1]] == [1, pytest.approx(1 / 3)]
    # an image that is all void is neither good nor bad
    assert scores.worst(9) == [1, 0] and scores.worst(1) == [1]


def test_split_scores_of_void_alone() -> None:
    scores = SplitScores(["cat"])
    scores.update(mask(255, 255), mask(0, 1))
    nothing = {"background": None, "cat": None}
    assert scores.summary() == {
        "miou": None,
        "iou": nothing,
        "pixel_accuracy": None,
        "countings": dict.fromkeys(("irn", "strict", "toco", "toco-pseudo")),
        "unsure": None,
        "images": 1,
        "image_miou": None,
        "areas": {
            size: {"miou": None, "regions": 0, "iou": nothing}
            for size in ("small", "medium", "large")
        },
        "boundary_miou": None,
        "boundary_iou": nothing,
    }


@pytest.mark.parametrize(("unsure", "iou"), [("background", 1.0), ("wrong", 0.5)])
def test_split_scores_of_unsure_pixels(unsure: Literal["background", "wrong"], iou: float) -> None:
    scores = SplitScores(["cat"], unsure)
    scores.update(mask(0, 0, 1, 1), mask(255, 0, 1, 1))
    assert scores.summary()["iou"] == scores.summary()["boundary_iou"]
    assert scores.summary()["iou"] == {"background": iou, "cat": 1.0}


def test_split_scores_refuse_a_mask_of_another_size() -> None:
    with pytest.raises(WsssError, match="size"):
        SplitScores(["cat"]).update(mask(0, 0), mask(0))
