"""Masks of class indices as instances, and instances as masks of class indices."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss.formats.polygons import TOLERANCE, Part, outline
from wsss.labels import BACKGROUND, IGNORE_INDEX

Size = tuple[int, int]
"""Height and width."""


class Instance(NamedTuple):
    """Pixels of one class.

    Attributes:
        value: of the class, from 1.
        pixels: (h, w) bool, cut to what they reach.
        corner: row and column of its upper left pixel in the image.
        size: of the image.
    """

    value: int
    pixels: NDArray[np.bool_]
    corner: tuple[int, int]
    size: Size

    @property
    def area(self) -> int:
        """In pixels."""
        return int(self.pixels.sum())

    @property
    def box(self) -> list[int]:
        """Left, top, width, height."""
        return [self.corner[1], self.corner[0], self.pixels.shape[1], self.pixels.shape[0]]

    def whole(self) -> NDArray[np.bool_]:
        """(H, W) bool."""
        mask = np.zeros(self.size, bool)
        (top, left), (height, width) = self.corner, self.pixels.shape
        mask[top : top + height, left : left + width] = self.pixels
        return mask

    def parts(self, tolerance: float = TOLERANCE) -> list[Part]:
        """Polygons along the edges of its pixels, see `outline`."""
        shift = np.array(self.corner[::-1], np.float64)
        return [
            Part(part.outer + shift, [hole + shift for hole in part.holes])
            for part in outline(self.pixels, tolerance)
        ]


def split(mask: NDArray[np.uint8], semantic: bool = False, min_area: int = 0) -> list[Instance]:
    """The instances of a mask (H, W) of class indices, by class; 0 and 255 are none.

    Args:
        mask: class indices.
        semantic: one instance a class; else one a connected component (8 neighbours).
        min_area: components of fewer pixels are left out.
    """
    found = []
    for value in np.unique(mask).tolist():
        if value in (0, IGNORE_INDEX):
            continue
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            (mask == value).astype(np.uint8), connectivity=8
        )
        kept = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] >= min_area]
        if semantic:
            if kept:
                found.append(_cut(value, np.isin(labels, kept)))
            continue
        for n in kept:
            left, top, width, height = (int(v) for v in stats[n, :4])
            pixels = labels[top : top + height, left : left + width] == n
            found.append(Instance(value, pixels, (top, left), (mask.shape[0], mask.shape[1])))
    return found


def _cut(value: int, pixels: NDArray[np.bool_]) -> Instance:
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    top, left = int(rows[0]), int(columns[0])
    cut = pixels[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    return Instance(value, cut, (top, left), (pixels.shape[0], pixels.shape[1]))


class Shape(NamedTuple):
    """What a person or a program painted: the name of its class, (H, W) bool, and its layer."""

    name: str
    pixels: NDArray[np.bool_]
    layer: int = 0


def paint(shapes: Iterable[Shape], size: Size, values: Mapping[str, int]) -> NDArray[np.uint8]:
    """The mask of shapes: higher layers and smaller shapes lie on top.

    What no shape covers is background; but where a shape is called background, somebody painted
    that as well, so that the rest is unknown: 255.

    Args:
        shapes: of an image.
        size: (H, W) of it.
        values: name of a class → its value.

    Raises:
        KeyError: a shape of another class.
    """
    ordered = sorted(shapes, key=lambda shape: (shape.layer, -int(shape.pixels.sum())))
    some = any(shape.name.casefold() == BACKGROUND for shape in ordered)
    mask = np.full(size, IGNORE_INDEX if some else 0, np.uint8)
    for shape in ordered:
        background = shape.name.casefold() == BACKGROUND
        mask[shape.pixels] = 0 if background else values[shape.name]
    return mask
