"""Colours of classes: far apart for any number, the same from image to image."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from wsss.report.colours import colours_of, display_colours


def least_distance(colours: NDArray[np.uint8]) -> float:
    lab = cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab, axis=-1)
    return float(distance[~np.eye(len(colours), dtype=bool)].min())


def test_display_colours_are_one_per_class_and_all_different() -> None:
    colours = display_colours()
    assert colours.shape == (254, 3) and colours.dtype == np.uint8
    assert len({tuple(colour) for colour in colours.tolist()}) == 254


@pytest.mark.parametrize(("count", "least"), [(2, 100), (10, 50), (20, 35), (80, 19), (200, 12)])
def test_first_display_colours_are_far_apart(count: int, least: float) -> None:
    assert least_distance(display_colours()[:count]) > least


def test_colours_of_labels_are_their_own_where_those_are_far_apart() -> None:
    colours = display_colours()
    for labels in ([1, 2, 20], [7], [20, 3]):
        assert colours_of(labels) == {label: tuple(colours[label - 1]) for label in labels}
    assert colours_of([]) == {}


def test_colours_of_labels_that_look_alike_are_told_apart() -> None:
    labels = list(range(240, 252))
    assert least_distance(display_colours()[np.array(labels) - 1]) < 28
    assert least_distance(np.array(list(colours_of(labels).values()), np.uint8)) >= 28


def test_colours_of_every_label_are_different() -> None:
    found = colours_of(range(1, 201))
    assert len(set(found.values())) == 200
