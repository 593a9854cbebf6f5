"""Images of a report as data URIs, so that its page is one file."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from wsss.report.sheet import Caption, read_sheet


class Cell(NamedTuple):
    """One image of an example.

    Attributes:
        title: of its column.
        uri: the image itself.
    """

    title: str
    uri: str


class Example(NamedTuple):
    """A row of a contact sheet."""

    caption: Caption
    cells: Sequence[Cell]


class Figure(NamedTuple):
    """What one file of a report shows.

    Attributes:
        heading: above it.
        uri: the image as a whole; empty where it has rows.
        examples: the rows of a contact sheet.
    """

    heading: str
    uri: str = ""
    examples: Sequence[Example] = ()


def read_figure(path: Path) -> Figure:
    """An image of a report; a contact sheet is cut into its cells."""
    sheet = read_sheet(path)
    if not sheet.captions:
        return Figure(heading(path.stem), _uri(sheet.image, "png"))
    examples = [
        Example(
            caption,
            [
                Cell(title, _uri(sheet.image.crop((box[0], box[1], box[2], box[3])), "jpeg"))
                for title, box in zip(sheet.titles, boxes, strict=True)
            ],
        )
        for caption, boxes in zip(sheet.captions, sheet.boxes, strict=True)
    ]
    return Figure(heading(path.stem), examples=examples)


def heading(stem: str) -> str:
    """Of an image by its file name without the suffix."""
    kind, _, split = stem.partition("_")
    if split and kind == "confusion":
        return f"Where the pixels of each class went ({split})"
    if split and kind == "worst":
        return f"The worst predictions ({split})"
    return f"Examples ({stem})"


def _uri(image: Image.Image, format: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format, quality=88, optimize=True)
    return f"data:image/{format};base64," + base64.b64encode(buffer.getvalue()).decode()
