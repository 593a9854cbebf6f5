"""Our counts against the evaluations of IRN and ToCo, written anew from their definitions."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from wsss.metrics.confusion import ConfusionMatrix
from wsss.metrics.protocols import COUNTINGS, Counting

Masks = Sequence[NDArray[np.uint8]]
CLASSES = 21


def irn(targets: Masks, preds: Masks, classes: int) -> float:
    """A predicted 255 is background, a true 255 is left out; the mean leaves out 0 / 0."""
    ious = []
    for c in range(classes):
        both = either = 0
        for target, pred in zip(targets, preds, strict=True):
            valid, found = target != 255, np.where(pred == 255, 0, pred)
            both += int(((target == c) & (found == c) & valid).sum())
            either += int((((target == c) | (found == c)) & valid).sum())
        ious.append(both / either if either else np.nan)
    return float(np.nanmean(ious))


def toco(targets: Masks, preds: Masks, classes: int) -> float:
    """Labels below the number of classes count; the mean goes over the classes of the target."""
    true, found = (np.concatenate([m.ravel() for m in masks]) for masks in (targets, preds))
    found, true = found[true < classes], true[true < classes]
    ious = [
        ((true == c) & (found == c)).sum() / ((true == c) | (found == c)).sum()
        for c in np.unique(true)
    ]
    return float(np.mean(ious))


def toco_pseudo(targets: Masks, preds: Masks, classes: int) -> float:
    """As `toco`, where a predicted 255 takes its pixel out."""
    masked = [
        np.where(p == 255, 255, t).astype(np.uint8) for t, p in zip(targets, preds, strict=True)
    ]
    return toco(masked, preds, classes)


def split(unsure: bool, classes: int = CLASSES) -> tuple[list[NDArray[np.uint8]], ...]:
    """Blocky masks of three sizes that mostly agree; class 3 is only predicted, 4 nowhere."""
    rng = np.random.default_rng(7)
    targets, preds = [], []
    for height, width in ((40, 60), (33, 20), (50, 50), (16, 90)):
        blocks = rng.choice([0, 0, 0, 1, 2, 5, classes - 1, 255], (height // 8 + 1, width // 8 + 1))
        target = np.kron(blocks, np.ones((8, 8), int))[:height, :width].astype(np.uint8)
        pred = np.roll(target, 2, 1)
        pred[pred == 255] = 0
        pred[rng.random(pred.shape) < 0.02] = 3
        if unsure:
            pred[rng.random(pred.shape) < 0.2] = 255
        targets.append(target)
        preds.append(pred)
    return targets, preds


def confusion(targets: Masks, preds: Masks, classes: int = CLASSES) -> ConfusionMatrix:
    found = ConfusionMatrix(classes)
    for target, pred in zip(targets, preds, strict=True):
        found.update(target, pred)
    return found


@pytest.mark.parametrize("classes", [21, 81])
@pytest.mark.parametrize(
    ("name", "published", "unsure"),
    [
        ("irn", irn, False),
        ("irn", irn, True),
        ("toco", toco, False),
        ("toco-pseudo", toco_pseudo, False),
        ("toco-pseudo", toco_pseudo, True),
    ],
)
def test_counting_equals_the_published_evaluation(
    name: str, published: Callable[[Masks, Masks, int], float], unsure: bool, classes: int
) -> None:
    targets, preds = split(unsure, classes)
    found = COUNTINGS[name].miou(confusion(targets, preds, classes))
    assert found == pytest.approx(published(targets, preds, classes), abs=1e-12)


def test_lenient_countings_are_higher() -> None:
    found = {name: c.miou(confusion(*split(unsure=True))) for name, c in COUNTINGS.items()}
    assert found["toco-pseudo"] > found["toco"] > found["irn"] > 0
    assert found["toco"] > found["strict"]


def test_without_unsure_pixels_only_the_classes_of_the_mean_differ() -> None:
    found = {name: c.miou(confusion(*split(unsure=False))) for name, c in COUNTINGS.items()}
    assert found["irn"] == found["strict"] < found["toco"] == found["toco-pseudo"]


def test_counting_of_nothing_has_no_mean() -> None:
    empty = ConfusionMatrix(3)
    assert all(np.isnan(c.miou(empty)) for c in COUNTINGS.values())


def test_counting_by_hand() -> None:
    counted = confusion([np.array([[0, 0, 1, 1]])], [np.array([[0, 2, 1, 255]])], 4)  # type: ignore[list-item]
    assert Counting("background").miou(counted) == pytest.approx((1 / 3 + 1 / 2 + 0) / 3)
    assert Counting("wrong").miou(counted) == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert Counting("skipped").miou(counted) == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert Counting("skipped", "target").miou(counted) == pytest.approx((1 / 2 + 1) / 2)
