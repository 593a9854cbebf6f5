"""Scores by hand, against torchmetrics, and their properties."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassJaccardIndex

from wsss.errors import WsssError
from wsss.metrics.confusion import ConfusionMatrix

TARGET = np.array([[0, 0, 1], [1, 2, 255]], np.uint8)

PRED = np.array([[0, 1, 1], [1, 255, 2]], np.uint8)


def score(unsure: str) -> ConfusionMatrix:
    confusion = ConfusionMatrix(4, unsure=unsure)  # type: ignore[arg-type]
    confusion.update(TARGET, PRED)
    return confusion


def test_confusion_matrix_by_hand() -> None:
    confusion = score("wrong")
    expected = [[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert confusion.matrix.tolist() == expected
    assert confusion.undecided.tolist() == [0, 0, 1, 0]
    assert confusion.matrix.dtype == np.int64


def test_confusion_matrix_with_unsure_as_wrong() -> None:
    scores = score("wrong").compute()
    np.testing.assert_array_equal(scores.iou, [1 / 2, 2 / 3, 0, np.nan])
    assert scores.miou == pytest.approx((1 / 2 + 2 / 3 + 0) / 3, abs=1e-15)
    assert scores.pixel_accuracy == 3 / 5


def test_confusion_matrix_with_unsure_as_background() -> None:
    scores = score("background").compute()
    np.testing.assert_array_equal(scores.iou, [1 / 3, 2 / 3, 0, np.nan])
    assert scores.pixel_accuracy == 3 / 5


def test_confusion_matrix_with_unsure_as_background_equals_writing_zero() -> None:
    rng = np.random.default_rng(0)
    target = rng.choice([0, 1, 2, 255], (3, 8, 8))
    pred = rng.choice([0, 1, 2, 255], (3, 8, 8))
    asked, written = ConfusionMatrix(3, unsure="background"), ConfusionMatrix(3)
    asked.update(target, pred)
    written.update(target, np.where(pred == 255, 0, pred))
    np.testing.assert_array_equal(asked.compute().iou, written.compute().iou)
    assert asked.compute().pixel_accuracy == written.compute().pixel_accuracy


def test_confusion_matrix_is_over_the_split_and_no_mean_over_images() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(np.array([[1, 1, 1, 1]]), np.array([[1, 1, 1, 1]]))
    confusion.update(np.array([[1, 0]]), np.array([[0, 0]]))
    np.testing.assert_array_equal(confusion.compute().iou, [1 / 2, 4 / 5])


def test_confusion_matrix_equals_torchmetrics_on_21_classes() -> None:
    rng = np.random.default_rng(1)
    ours, theirs = ConfusionMatrix(21), MulticlassJaccardIndex(21, average=None, ignore_index=255)
    for _ in range(4):
        target = rng.integers(0, 21, (50, 40), np.uint8)
        pred = np.where(rng.random(target.shape) < 0.6, target, rng.integers(0, 21, target.shape))
        target[rng.random(target.shape) < 0.1] = 255
        ours.update(target, pred.astype(np.uint8))
        theirs.update(torch.from_numpy(pred), torch.from_numpy(target.astype(np.int64)))
    np.testing.assert_allclose(ours.compute().iou, theirs.compute().numpy(), atol=1e-7)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, np.uint8, np.int32])
def test_confusion_matrix_takes_arrays_and_tensors_alone_and_in_batches(kind: object) -> None:
    def give(array: np.ndarray) -> object:
        if isinstance(kind, torch.dtype):
            return torch.from_numpy(array).to(kind)
        return array.astype(kind)  # type: ignore[call-overload]

    alone, batch = ConfusionMatrix(4), ConfusionMatrix(4)
    alone.update(give(TARGET), give(PRED))  # type: ignore[arg-type]
    alone.update(give(TARGET), give(TARGET))  # type: ignore[arg-type]
    both = (np.stack([TARGET, TARGET]), np.stack([PRED, TARGET]))
    batch.update(*map(give, both))  # type: ignore[arg-type]
    np.testing.assert_array_equal(alone.matrix, batch.matrix)
    np.testing.assert_array_equal(alone.undecided, batch.undecided)


def test_confusion_matrix_changes_no_input() -> None:
    target, pred = torch.from_numpy(TARGET.astype(np.int64)), PRED.astype(np.int64)
    ConfusionMatrix(4).update(target, pred)
    np.testing.assert_array_equal(target.numpy(), TARGET)
    np.testing.assert_array_equal(pred, PRED)


def test_confusion_matrix_merge_equals_one_pass() -> None:
    whole, first, second = (ConfusionMatrix(4) for _ in range(3))
    for part, (a, b) in ((first, (TARGET, PRED)), (second, (PRED, TARGET))):
        part.update(a, b)
        whole.update(a, b)
    first.merge(second)
    np.testing.assert_array_equal(first.matrix, whole.matrix)
    np.testing.assert_array_equal(first.undecided, whole.undecided)
    with pytest.raises(ValueError, match="different classes"):
        first.merge(ConfusionMatrix(5))


def test_confusion_matrix_of_nothing_is_nan() -> None:
    scores = ConfusionMatrix(3).compute()
    assert np.isnan(scores.iou).all()
    assert math.isnan(scores.miou)
    assert math.isnan(scores.pixel_accuracy)


@pytest.mark.parametrize(
    ("target", "pred", "fault"),
    [
        ([[0, 1]], [[0]], r"shape \(1, 2\).*shape \(1, 1\)"),
        ([[4]], [[0]], r"target .*4; .*0\.\.3"),
        ([[0]], [[7]], "prediction .*7"),
        ([[-1]], [[0]], "-1"),
    ],
)
def test_confusion_matrix_refuses_other_shapes_and_values(
    target: list[list[int]], pred: list[list[int]], fault: str
) -> None:
    with pytest.raises(WsssError, match=fault):
        ConfusionMatrix(4).update(np.array(target), np.array(pred))


def test_confusion_matrix_refuses_bad_settings() -> None:
    with pytest.raises(ValueError, match="300"):
        ConfusionMatrix(300)
    with pytest.raises(ValueError, match="unsure"):
        ConfusionMatrix(3, unsure="ignored")  # type: ignore[arg-type]
