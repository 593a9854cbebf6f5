"""Masks as runs and as polygons, as COCO counts and rasterises them.

pycocotools encodes runs and fills polygons, so that areas and borders are COCO's own. It reads and
writes beside its memory where a file lies about sizes, so everything is checked first, and runs are
decoded here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

Mask = NDArray[np.bool_]

_FAR = 16  # sides of the image that a polygon may stick out by, before it is taken for a mistake


def encode_rle(mask: Mask) -> dict[str, Any]:
    """(H, W) bool → COCO's compressed RLE: `size` [H, W] and `counts`, text."""
    runs = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")}


def decode_rle(rle: Mapping[str, Any], size: tuple[int, int]) -> Mask:
    """COCO's RLE, compressed or not, of an image of `size` = (H, W) → (H, W) bool.

    Raises:
        ValueError: it is no RLE of that size; says why.
    """
    height, width = size
    if list(rle.get("size") or ()) != [height, width]:
        raise ValueError(
            f"an RLE of size {rle.get('size')!r:.40} in an image of [{height}, {width}]"
        )
    counts = rle.get("counts")
    if isinstance(counts, str | bytes):
        runs = _uncompressed(counts)
    elif isinstance(counts, list) and all(type(count) is int for count in counts):
        runs = counts
    else:
        raise ValueError("an RLE whose counts are neither text nor a list of whole numbers")
    return fill_runs(runs, height * width).reshape(width, height).T


def fill_runs(runs: Sequence[int], pixels: int) -> Mask:
    """Lengths of runs, false and true in turn from false on → (pixels,) bool.

    Raises:
        ValueError: a run is negative, or they don't add up to the pixels.
    """
    if any(run < 0 for run in runs) or sum(runs) != pixels:
        raise ValueError(f"runs of {sum(runs)} pixels in an image of {pixels}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, np.asarray(runs, np.int64))


def runs_of(flat: Mask) -> list[int]:
    """(pixels,) bool → lengths of runs, as `fill_runs` takes them."""
    borders = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], borders, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def fill_polygons(polygons: Sequence[Any], size: tuple[int, int]) -> Mask:
    """The union of polygons `[x0, y0, x1, y1, …]`, as pycocotools fills each → `size` bool.

    Raises:
        ValueError: one is no list of three points or more, or lies far outside of the image.
    """
    height, width = size
    filled = np.zeros(size, bool)
    for polygon in polygons:
        points = checked_points(polygon, size)
        (runs,) = coco_mask.frPyObjects([points.ravel().tolist()], height, width)
        filled |= decode_rle(runs, size)
    return filled


def checked_points(polygon: Any, size: tuple[int, int]) -> NDArray[np.float64]:
    """A polygon `[x0, y0, x1, y1, …]` or `[[x0, y0], …]` of an image as (n, 2) float64.

    Raises:
        ValueError: as `fill_polygons`.
    """
    try:
        flat = np.asarray(polygon, np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        raise ValueError("a polygon that is no list of numbers") from None
    if flat.size < 6 or flat.size % 2:
        raise ValueError(f"a polygon of {flat.size} numbers, fewer than three points or uneven")
    points = flat.reshape(-1, 2)
    far = _FAR * max(size)
    if not np.isfinite(points).all() or np.abs(points).max() > far:
        raise ValueError(f"a polygon that lies far outside of an image of {size[1]}×{size[0]}")
    return points


def _uncompressed(text: str | bytes) -> list[int]:
    """Runs of COCO's compressed counts: 5 bits a character, from the third on differences."""
    codes = text.encode("ascii", "replace") if isinstance(text, str) else text
    runs: list[int] = []
    value = shift = 0
    for code in codes:
        digit = code - 48
        if not 0 <= digit < 64 or shift > 60:
            raise ValueError("an RLE whose counts hold a character that is none of COCO's")
        value |= (digit & 31) << shift
        shift += 5
        if not digit & 32:
            if digit & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs
