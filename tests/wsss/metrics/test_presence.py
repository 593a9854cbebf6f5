"""Least probabilities by hand."""

import numpy as np
import pytest

from wsss.metrics.presence import least_probabilities


def test_least_probability_parts_what_can_be_parted() -> None:
    tags = np.array([[1], [1], [0], [0]])
    probs = np.array([[0.9], [0.605], [0.2], [0.1]])
    # every step from 0.21 to 0.6 is right about all of them
    assert least_probabilities(probs, tags) == pytest.approx([0.405])


def test_least_probability_takes_false_ones_rather_than_lose_one() -> None:
    tags = np.array([[1]] + [[1]] + [[0]] * 3)
    probs = np.array([[0.9], [0.3], [0.5], [0.5], [0.5]])
    # all: 10 / (10 + 3); above 0.5 alone: 5 / (5 + 4)
    (least,) = least_probabilities(probs, tags)
    assert least <= 0.3
    # six false ones are too many: 10 / (10 + 9) against 5 / (5 + 4)
    more = least_probabilities(np.vstack([probs, [[0.5]] * 6]), np.vstack([tags, [[0]] * 6]))
    assert more[0] > 0.5


def test_least_probability_of_a_class_with_few_images_leans_on_the_others() -> None:
    rng = np.random.default_rng(0)
    tags = np.zeros((300, 2))
    tags[:100, 0] = 1
    probs = np.where(tags > 0, 0.7, 0.2) + rng.uniform(-0.1, 0.1, tags.shape)
    one, other = least_probabilities(probs, tags)
    assert 0.3 < one < 0.6 and other == pytest.approx(one, abs=0.05)


def test_least_probability_without_tags_keeps_everything() -> None:
    assert least_probabilities(np.zeros((0, 3)), np.zeros((0, 3))).tolist() == [0, 0, 0]
    assert least_probabilities(np.ones((4, 2)), np.zeros((4, 2))).tolist() == [0, 0]
