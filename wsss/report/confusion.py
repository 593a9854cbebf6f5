"""The confusion matrix as an image and as a table."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from wsss.files import csv_text
from wsss.report.sheet import heat

_CELL = 26
_GAP = 6


def confusion_csv(matrix: NDArray[np.int64], names: Sequence[str]) -> str:
    """Pixels by target (rows) and prediction (columns), names first: (C + 1, C + 1) → CSV."""
    rows = ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
    return csv_text([["target \\ prediction", *names], *rows])


def confusion_image(matrix: NDArray[np.int64], names: Sequence[str]) -> Image.Image:
    """Where the pixels of each class went: every row in per cent of its target's pixels.

    Args:
        matrix: (C + 1, C + 1) pixels; row = target, column = prediction.
        names: of the classes, background first.

    Returns:
        An image with the names at the left and, upright, on top; cells of at least one per cent
        carry their number.
    """
    shares = matrix / matrix.sum(1, keepdims=True).clip(1)
    margin = _GAP * 2 + max(_text_width(name) for name in names)
    side = _CELL * len(names)
    image = Image.new("RGB", (margin + side + _GAP, margin + side + _GAP), "white")
    blank = np.zeros((side, side, 3), np.uint8)
    colours = heat(shares.repeat(_CELL, 0).repeat(_CELL, 1), blank)
    image.paste(Image.fromarray(colours), (margin, margin))
    draw = ImageDraw.Draw(image)
    for i, name in enumerate(names):
        middle = margin + i * _CELL + _CELL // 2
        draw.text((margin - _GAP, middle), name, fill="black", anchor="rm")
        label = Image.new("RGB", (margin - _GAP, 12), "white")
        ImageDraw.Draw(label).text((0, 6), name, fill="black", anchor="lm")
        image.paste(label.rotate(90, expand=True), (middle - 6, 0))
        for j, share in enumerate(shares[i]):
            if share >= 0.01:
                position = (margin + j * _CELL + _CELL // 2, middle)
                ink = "black" if share > 0.7 else "white"
                draw.text(position, f"{100 * share:.0f}", fill=ink, anchor="mm")
    return image


def _text_width(text: str) -> int:
    return round(ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(text))
