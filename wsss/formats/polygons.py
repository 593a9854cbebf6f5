"""Masks as polygons along the edges of pixels, and what is simplified of them.

A polygon's points are corners of pixels: (0, 0) is the upper left corner of the image, (W, H) the
lower right one. Not simplified, it fills to the mask exactly.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Ring = NDArray[np.float64]

TOLERANCE = 0.75
"""Pixels that a simplified polygon may be away from the edge; a staircase is 0.71 from its line."""


class Part(NamedTuple):
    """A connected part of a mask: an outer ring (n, 2) of x, y, and the rings of its holes."""

    outer: Ring
    holes: list[Ring]


def outline(mask: Mask, tolerance: float = TOLERANCE) -> list[Part]:
    """The parts of a mask (H, W) bool, the largest first; pixels that touch by a corner are one.

    Args:
        mask: what to outline.
        tolerance: of the simplification, in pixels; 0 keeps every corner.
    """
    # of a mask of double size, OpenCV's points are a quarter of a pixel inside of the edges
    double = np.repeat(np.repeat(mask.astype(np.uint8), 2, 0), 2, 1)
    contours, tree = cv2.findContours(double, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [_ring(contour, tolerance) for contour in contours]
    parts = []
    for number, (_, _, child, parent) in enumerate(() if tree is None else tree[0].tolist()):
        holes = []
        while parent < 0 <= child:
            holes.append(rings[child])
            child = int(tree[0][child][0])
        if parent < 0:
            parts.append(Part(rings[number], holes))
    return sorted(parts, key=lambda part: -_area(part.outer))


def _ring(contour: NDArray[np.int32], tolerance: float) -> Ring:
    corners = np.round((contour[:, 0] + 0.5) / 2).astype(np.int32)
    changed = np.any(corners != np.roll(corners, 1, 0), axis=1)
    corners = corners[changed]
    if tolerance:
        fewer = cv2.approxPolyDP(corners[:, None], tolerance, True)[:, 0]
        # OpenCV measures to a whole line, not to its piece, and may cut off what is pointed
        if len(fewer) > 2 and _area(fewer) > 0 and _farthest(corners, fewer) <= 1:
            return fewer.astype(np.float64)
    return _without_straight(corners).astype(np.float64)


def _without_straight(corners: NDArray[np.int32]) -> NDArray[np.int32]:
    """Without points on the line between their neighbours."""
    before, after = corners - np.roll(corners, 1, 0), np.roll(corners, -1, 0) - corners
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    back = (before * after).sum(1) < 0  # along a line of no width and back
    return corners[turns | back]


def _farthest(corners: NDArray[np.int32], ring: NDArray[np.int32]) -> float:
    """The largest distance of a corner from the side of a ring, made of some of them, it is on."""
    kept = np.flatnonzero(np.isin(corners @ _PLACES, ring @ _PLACES))
    side = np.searchsorted(kept, np.arange(len(corners)), side="right") - 1
    start = corners[kept[side]].astype(np.float64)  # of those before the first, the last
    way, to = corners[kept[(side + 1) % len(kept)]] - start, corners - start
    along = ((to * way).sum(1) / np.maximum((way**2).sum(1), 1e-9)).clip(0, 1)
    return float(np.hypot(*(to - along[:, None] * way).T).max())


_PLACES = np.array([1 << 24, 1])  # one number a point


def _area(ring: NDArray[np.number]) -> float:
    x, y = ring[:, 0], ring[:, 1]
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def joined(part: Part) -> Ring:
    """One ring of a part: each hole is cut open by a line of no width to the nearest point.

    Formats without holes take it; what fills by parity or winding fills it to the part.
    """
    ring = part.outer
    for hole in sorted(part.holes, key=lambda hole: float(hole[:, 0].min())):
        away = ((ring[:, None] - hole[None]) ** 2).sum(2)
        i, j = np.unravel_index(int(away.argmin()), away.shape)
        cut = np.concatenate([hole[j:], hole[: j + 1]])
        ring = np.concatenate([ring[: i + 1], cut, ring[i:]])
    return ring


def fill(rings: list[Ring], size: tuple[int, int]) -> Mask:
    """Fills rings of pixel corners by parity: pixels whose centre is inside an odd number of them.

    Args:
        rings: (n, 2) of x, y each; lines of no width are of no matter.
        size: (H, W) of the mask.
    """
    height, width = size
    toggles = np.zeros((height, width + 1), np.int64)
    for ring in rings:
        x0, y0 = ring[:, 0], ring[:, 1]
        x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
        for ax, ay, bx, by in zip(x0, y0, x1, y1, strict=True):
            if ay == by:
                continue
            (ax, ay), (bx, by) = sorted(((ax, ay), (bx, by)), key=lambda p: p[1])
            # rows whose centre y + ½ is in [ay, by)
            first, last = max(0, int(np.ceil(ay - 0.5))), min(height, int(np.ceil(by - 0.5)))
            rows = np.arange(first, last)
            x = ax + (rows + 0.5 - ay) * (bx - ax) / (by - ay)
            columns = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
            np.add.at(toggles, (rows, columns), 1)
    return np.asarray(np.cumsum(toggles[:, :width], axis=1) % 2 == 1)
