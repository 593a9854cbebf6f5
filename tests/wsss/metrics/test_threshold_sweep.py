"""Every threshold at once equals a confusion matrix for each."""

import numpy as np
import pytest
import torch

from wsss.metrics.confusion import ConfusionMatrix
from wsss.metrics.threshold_sweep import ThresholdSweep
from wsss.seeding.masks import seed_mask

THRESHOLDS = (0.1, 0.25, 0.5, 0.75)


@pytest.fixture
def counted() -> tuple[ThresholdSweep, list[ConfusionMatrix]]:
    rng = np.random.default_rng(0)
    sweep = ThresholdSweep(4, THRESHOLDS)
    matrices = [ConfusionMatrix(4) for _ in THRESHOLDS]
    for tags in ([1, 3], [2], []):
        target = rng.choice([0, 1, 2, 3, 255], (6, 9)).astype(np.uint8)
        # steps of an eighth: many scores lie exactly on a threshold
        scores = torch.from_numpy(rng.integers(0, 9, (len(tags), 6, 9)) / 8).float()
        labels = torch.tensor(tags, dtype=torch.uint8)
        sweep.update(target, scores, labels)
        for threshold, matrix in zip(THRESHOLDS, matrices, strict=True):
            matrix.update(target, seed_mask(scores - threshold, labels))
    return sweep, matrices


def test_sweep_equals_a_confusion_matrix_per_threshold(
    counted: tuple[ThresholdSweep, list[ConfusionMatrix]],
) -> None:
    sweep, matrices = counted
    for position, matrix in enumerate(matrices):
        np.testing.assert_array_equal(sweep.confusion(position).matrix, matrix.matrix)


def test_sweep_best_is_the_threshold_of_the_highest_miou(
    counted: tuple[ThresholdSweep, list[ConfusionMatrix]],
) -> None:
    sweep, matrices = counted
    means = [matrix.compute().miou for matrix in matrices]
    assert sweep.best() == (THRESHOLDS[int(np.argmax(means))], max(means))


def test_sweep_of_void_alone_has_no_best() -> None:
    sweep = ThresholdSweep(2, THRESHOLDS)
    sweep.update(np.full((2, 2), 255, np.uint8), torch.ones(1, 2, 2), torch.tensor([1]))
    assert np.isnan(sweep.best()).all()
