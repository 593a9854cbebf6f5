"""Parts of an uncertainty by hand, and how they become a score."""

import numpy as np
import pytest
import torch

from wsss.metrics.uncertainty import (
    areas,
    combine,
    disagreement,
    missing,
    overlaps,
    unsure,
)


def test_unsure_is_what_the_likeliest_labels_lack() -> None:
    probs = torch.tensor([[[0.9, 0.5]], [[0.1, 0.5]]])
    assert unsure(probs).item() == pytest.approx(1 - 0.7)


def test_overlaps_are_pixels_that_both_and_that_either_has() -> None:
    first = torch.tensor([[0, 0, 1, 1]])
    second = torch.tensor([[0, 1, 1, 1]])
    assert overlaps(first, second, 2).tolist() == [[1, 2, 0], [2, 3, 0]]


def test_overlaps_leave_values_out_that_are_no_label() -> None:
    first = torch.tensor([[0, 255, 1, 255]], dtype=torch.uint8)
    second = torch.tensor([[0, 255, 2, 1]])
    assert overlaps(first, second, 1).tolist() == [[1, 0], [1, 2]]


def test_disagreement_is_one_minus_the_mean_iou() -> None:
    # background 1 of 2, label 1 2 of 3; label 2 is in neither
    counts = torch.tensor([[1, 2, 0], [2, 3, 0]])
    assert disagreement(counts) == pytest.approx(1 - (1 / 2 + 2 / 3) / 2)
    assert disagreement(torch.tensor([[4.0], [4.0]])) == 0
    assert np.isnan(disagreement(torch.zeros(2, 3)))


def test_areas_are_shares_of_the_image() -> None:
    assert areas(torch.tensor([[0, 0], [2, 255]]), 255)[[0, 1, 2, 255]].tolist() == [
        0.5,
        0.0,
        0.25,
        0.25,
    ]


def test_missing_is_the_share_of_what_is_expected() -> None:
    assert missing([0.2, 0.0], [1.0, 1.0]) == 0.5
    assert missing([0.2, 0.0], [0.9, 0.1]) == pytest.approx(0.1)
    assert missing([], []) == 0


def test_combine_is_the_weighted_mean_rank_of_the_parts_that_are_known() -> None:
    none = [None, None, None]
    scores = combine({"unsure": [0.0, 5.0, 10.0], "missing": [None, 0.1, 0.2], "before": none})
    np.testing.assert_allclose(scores, [0, (3 * 0.5 + 4 * 0) / 7, 1])
    assert combine({"unsure": [0.3]}).tolist() == [0]
    assert combine({"unsure": []}).tolist() == []


def test_combine_does_not_depend_on_scale_or_order() -> None:
    values = np.random.default_rng(0).random((2, 20))
    scores = combine({"unsure": values[0].tolist(), "doubted": values[1].tolist()})
    scaled = combine({"unsure": (values[0] ** 3).tolist(), "doubted": (9 * values[1]).tolist()})
    np.testing.assert_allclose(scores, scaled)
    order = np.random.default_rng(1).permutation(20)
    shuffled = combine({"unsure": values[0][order].tolist(), "doubted": values[1][order].tolist()})
    np.testing.assert_allclose(shuffled, scores[order])
