"""Average precision of tags: by hand, against torchmetrics."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MultilabelAveragePrecision

from wsss.metrics.average_precision import average_precision


def test_average_precision_by_hand() -> None:
    # ranked: + - + -   → P at hits 1, 2/3 → mean 5/6;  all wrong first: - - + → 1/3
    scores = np.array([[0.9, 0.1], [0.8, 0.3], [0.7, 0.2], [0.1, 0.4]])
    tags = np.array([[1, 0], [0, 0], [1, 1], [0, 0]])
    per_class, mean = average_precision(scores, tags)
    np.testing.assert_allclose(per_class, [5 / 6, 1 / 3], atol=1e-15)
    assert mean == pytest.approx((5 / 6 + 1 / 3) / 2, abs=1e-15)


def test_average_precision_takes_equal_scores_as_one_threshold() -> None:
    # every score equal: one threshold, precision = share of positives, in any order
    for tags in ([1, 0, 0, 1], [0, 1, 1, 0]):
        per_class, _ = average_precision(np.zeros((4, 1)), np.array(tags)[:, None])
        assert per_class.tolist() == [0.5]
    # a tie of (+, −) behind a first +: ½·1 + ½·2/3
    per_class, _ = average_precision(np.array([[2.0], [1], [1]]), np.array([[1], [0], [1]]))
    np.testing.assert_allclose(per_class, [1 / 2 + 1 / 2 * 2 / 3], atol=1e-15)


def test_average_precision_leaves_out_a_class_without_positives() -> None:
    per_class, mean = average_precision(np.array([[0.1, 0.2]]), np.array([[1, 0]]))
    np.testing.assert_array_equal(per_class, [1, np.nan])
    assert mean == 1
    assert math.isnan(average_precision(np.ones((2, 1)), np.zeros((2, 1)))[1])


def test_average_precision_equals_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = (torch.rand(200, 5, generator=generator) * 20).round() / 20  # many ties
    tags = (torch.rand(200, 5, generator=generator) < 0.3).long()
    theirs = MultilabelAveragePrecision(5, average=None)(scores, tags)
    np.testing.assert_allclose(average_precision(scores, tags)[0], theirs.numpy(), atol=1e-6)


def test_average_precision_ignores_a_rising_map_of_the_scores() -> None:
    rng = np.random.default_rng(2)
    logits, tags = rng.normal(size=(50, 3)), rng.integers(0, 2, (50, 3))
    expected = average_precision(logits, tags)[0]
    np.testing.assert_array_equal(average_precision(1 / (1 + np.exp(-logits)), tags)[0], expected)


@pytest.mark.parametrize("scores", [np.zeros((2, 2)), np.full((2, 3), np.nan), np.zeros(3)])
def test_average_precision_refuses_other_shapes_and_nan(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected"):
        average_precision(scores, np.ones((2, 3)))
