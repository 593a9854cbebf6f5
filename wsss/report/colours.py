"""Colours to show classes with, as far apart as they can be; masks on disk keep VOC's palette."""

from collections.abc import Iterable, Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import quadratic_assignment

from wsss.labels import MAX_FOREGROUND

_STEPS = 18  # of each channel among which colours are chosen
_LIGHTNESS = (42.0, 88.0)  # CIELAB's L of a colour that shows on dark images and on light ones
_LIGHTNESS_COUNTS = 0.6  # half transparent, a colour takes on the lightness of what is under it
_ENOUGH = 0.2
"""Distance from which on two colours in one image are told apart at a glance."""


@cache
def display_colours() -> NDArray[np.uint8]:
    """A colour for each value of a mask from 1 on; the first n are far apart, for every n.

    Each is the one of greatest distance to black, white, grey and all before it, in OKLab with
    lightness scaled down: two greens, a dark and a bright one, look alike over a photograph.

    Returns:
        (254, 3) uint8 RGB.
    """
    levels = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lightness = cv2.cvtColor(candidates[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0, :, 0]
    candidates = candidates[(lightness >= _LIGHTNESS[0]) & (lightness <= _LIGHTNESS[1])]
    known = _appearance(candidates)
    avoided = _appearance(np.array([[0, 0, 0], [128, 128, 128], [255, 255, 255]], np.uint8))
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
    known = _appearance(colours)
    taken: list[int] = []
    for label in labels:
        own = label - 1
        if taken:
            nearest = np.linalg.norm(known[:, None] - known[taken], axis=-1).min(axis=1)
            own = own if nearest[own] >= _ENOUGH else int(nearest.argmax())
        taken.append(own)
    found = colours[taken].tolist()
    return {label: tuple(colour) for label, colour in zip(labels, found, strict=True)}


def colours_among(classes: int, images: Iterable[Sequence[int]]) -> NDArray[np.uint8]:
    """The first of `display_colours`, dealt so that classes of one image are far apart.

    The sum over images and pairs of their classes of 1/distance² is made small, as an assignment
    problem (Vogelstein et al. 2015, "Fast approximate quadratic programming").

    Args:
        classes: how many.
        images: class indices from 0 of every image.

    Returns:
        (classes, 3) uint8 RGB.
    """
    colours = display_colours()[:classes]
    together = np.zeros((classes, classes))
    for tags in images:
        together[np.ix_(tags, tags)] += 1
    np.fill_diagonal(together, 0)
    if not together.any():
        return colours
    known = _appearance(colours)
    near = 1 / (np.square(known[:, None] - known).sum(axis=-1) + np.eye(classes))
    np.fill_diagonal(near, 0)
    dealt = quadratic_assignment(
        together, near, method="faq", options={"rng": np.random.default_rng(0)}
    )
    return colours[dealt.col_ind]


def _appearance(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(n, 3) RGB → OKLab (Ottosson 2020), its lightness scaled down."""
    values = colours / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    lab = np.cbrt(linear @ _TO_CONES.T) @ _TO_OKLAB.T
    return np.asarray(lab * (_LIGHTNESS_COUNTS, 1, 1), np.float64)


_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
