"""Contact sheets: images beside what the run made of them."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsss.data.mask_io import palette

Pixels = NDArray[np.uint8]
_HEADER = 18
_GAP = 4


def heat(scores: NDArray[Any], image: Pixels) -> Pixels:
    """Scores in 0…1 (h, w) as a heat map over an image (H, W, 3)."""
    resized = cv2.resize(scores.astype(np.float32), image.shape[1::-1])
    levels = (resized.clip(0, 1) * 255).astype(np.uint8)
    colours = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)[..., ::-1]
    return (0.35 * image + 0.65 * colours).astype(np.uint8)


def mask_over(mask: Pixels, image: Pixels) -> Pixels:
    """A mask (H, W) in the VOC palette over an image; background shows the image."""
    colours = palette()[mask]
    blended = 0.35 * image + 0.65 * colours
    return np.where((mask > 0)[..., None], blended, 0.6 * image).astype(np.uint8)


def slots_over(slots: NDArray[Any], image: Pixels) -> Pixels:
    """Winning slots (h, w), each in the mean colour of its pixels, edges drawn."""
    labels = cv2.resize(
        slots.astype(np.uint8), image.shape[1::-1], interpolation=cv2.INTER_NEAREST
    ).astype(np.int64)
    count = np.bincount(labels.ravel(), minlength=256).clip(1)
    means = [
        np.bincount(labels.ravel(), image[..., c].ravel(), minlength=256) / count for c in range(3)
    ]
    painted = np.stack(means, -1)[labels].astype(np.uint8)
    edges = (labels != np.roll(labels, 1, 0)) | (labels != np.roll(labels, 1, 1))
    painted[edges] = (painted[edges] * 0.55).astype(np.uint8)
    return painted


def contact_sheet(
    rows: Sequence[Sequence[Pixels]], titles: Sequence[str], width: int = 150
) -> Image.Image:
    """Rows of images under titles, every cell `width` pixels wide.

    Args:
        rows: images (H, W, 3); a row's may be of any one size.
        titles: of the columns.
        width: of a cell.
    """
    heights = [max(1, round(row[0].shape[0] * width / row[0].shape[1])) for row in rows]
    size = (
        (width + _GAP) * len(titles) + _GAP,
        _HEADER + sum(height + _GAP for height in heights),
    )
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((_GAP + column * (width + _GAP), 3), title, fill="black")
    top = _HEADER
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            image = Image.fromarray(np.ascontiguousarray(cell)).resize((width, height))
            sheet.paste(image, (_GAP + column * (width + _GAP), top))
        top += height + _GAP
    return sheet
