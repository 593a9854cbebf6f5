"""Colours of classes: far apart for any number, the same from image to image."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from wsss.report.colours import colours_among, colours_of, display_colours


def lab(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    """CIELAB, which the colours are not chosen in."""
    return np.asarray(cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0])


def least_distance(colours: NDArray[np.uint8]) -> float:
    distance = np.linalg.norm(lab(colours)[:, None] - lab(colours), axis=-1)
    return float(distance[~np.eye(len(colours), dtype=bool)].min())


def test_display_colours_are_one_per_class_and_all_different() -> None:
    colours = display_colours()
    assert colours.shape == (254, 3) and colours.dtype == np.uint8
    assert len({tuple(colour) for colour in colours.tolist()}) == 254


@pytest.mark.parametrize(("count", "least"), [(2, 100), (10, 40), (20, 22), (80, 13), (200, 8)])
def test_first_display_colours_are_far_apart(count: int, least: float) -> None:
    assert least_distance(display_colours()[:count]) > least


def test_colours_among_tell_classes_of_one_image_apart() -> None:
    colours = display_colours()[:20]
    distance = np.linalg.norm(lab(colours)[:, None] - lab(colours), axis=-1) + 999 * np.eye(20)
    alike = divmod(int(distance.argmin()), 20)
    found = colours_among(20, [alike, alike, (0, 1)])
    assert least_distance(found[list(alike)]) > 60
    assert {tuple(c) for c in found.tolist()} == {tuple(c) for c in colours.tolist()}


def test_colours_among_classes_that_are_never_together_are_their_own() -> None:
    np.testing.assert_array_equal(colours_among(4, [(0,), (3,), ()]), display_colours()[:4])


def test_display_colours_of_car_and_person_differ_in_hue() -> None:
    known = lab(display_colours()[:20])
    hues = np.degrees(np.arctan2(known[:, 2], known[:, 1]))
    assert abs(hues[7 - 1] - hues[15 - 1]) > 60  # side by side in many images


def test_colours_of_labels_are_their_own_where_those_are_far_apart() -> None:
    colours = display_colours()
    for labels in ([1, 2, 3], [7], [20, 5]):
        assert colours_of(labels) == {label: tuple(colours[label - 1]) for label in labels}
    assert colours_of([]) == {}


def test_colours_of_labels_that_look_alike_are_told_apart() -> None:
    labels = list(range(240, 252))
    assert least_distance(display_colours()[np.array(labels) - 1]) < 20
    assert least_distance(np.array(list(colours_of(labels).values()), np.uint8)) > 30


def test_colours_of_every_label_are_different() -> None:
    found = colours_of(range(1, 201))
    assert len(set(found.values())) == 200
