"""Colours to show classes with, as far apart as they can be; masks on disk keep VOC's palette."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss.labels import MAX_FOREGROUND

_STEPS = 18  # of each channel among which colours are chosen
_LIGHTNESS = (42.0, 88.0)  # CIELAB's L of a colour that shows on dark images and on light ones
_ENOUGH = 28.0
"""CIELAB distance from which on two colours in one image are told apart at a glance."""


@cache
def display_colours() -> NDArray[np.uint8]:
    """A colour for each value of a mask from 1 on; the first n are far apart, for every n.

    Each is the one of greatest CIELAB distance to black, white, grey and all before it.

    Returns:
        (254, 3) uint8 RGB.
    """
    levels = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    known = _lab(candidates)
    bright = (known[:, 0] >= _LIGHTNESS[0]) & (known[:, 0] <= _LIGHTNESS[1])
    candidates, known = candidates[bright], known[bright]
    avoided = _lab(np.array([[0, 0, 0], [128, 128, 128], [255, 255, 255]], np.uint8))
    distance = np.linalg.norm(known[:, None] - avoided, axis=-1).min(axis=1)
    chosen = []
    for _ in range(MAX_FOREGROUND):
        best = int(distance.argmax())
        chosen.append(best)
        distance = np.minimum(distance, np.linalg.norm(known - known[best], axis=-1))
    return candidates[chosen]


def colours_of(labels: Sequence[int]) -> dict[int, tuple[int, int, int]]:
    """A colour for each of the labels that an image has.

    A label's own colour of `display_colours`, the same in every image, unless one before it in the
    image has a colour that is too near: then the colour that is farthest from those.

    Args:
        labels: mask values, 1 to 254.
    """
    colours = display_colours()
    known = _lab(colours)
    taken: list[int] = []
    for label in labels:
        own = label - 1
        if taken:
            nearest = np.linalg.norm(known[:, None] - known[taken], axis=-1).min(axis=1)
            own = own if nearest[own] >= _ENOUGH else int(nearest.argmax())
        taken.append(own)
    found = colours[taken].tolist()
    return {label: tuple(colour) for label, colour in zip(labels, found, strict=True)}


def _lab(colours: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 3) RGB → CIELAB."""
    converted = cv2.cvtColor(colours[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(converted[0], np.float32)
