"""Contact sheets: images beside what the run made of them."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from wsss.data.image_header import open_image
from wsss.data.mask_io import palette

Pixels = NDArray[np.uint8]
_HEADER = 18
_GAP = 4
_PARTS = "wsss-parts"  # keyword of a sheet's titles, captions and boxes in its PNG


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


class Caption(NamedTuple):
    """What is said of a row of images.

    Attributes:
        id: of the image.
        tags: names of the classes it is tagged with.
        note: anything else, such as what was found and is not tagged.
    """

    id: str
    tags: Sequence[str] = ()
    note: str = ""

    def __str__(self) -> str:
        tags = ", ".join(self.tags) or "no tags"
        return f"{self.id}: {tags}" + (f"; {self.note}" if self.note else "")


@dataclass(frozen=True)
class ContactSheet:
    """Rows of images under titles, which the file of the sheet keeps beside its pixels.

    Attributes:
        image: the sheet.
        titles: of the columns.
        captions: of the rows; none where the sheet has none.
        boxes: left, top, right and bottom of every image, row by row.
    """

    image: Image.Image
    titles: Sequence[str]
    captions: Sequence[Caption]
    boxes: Sequence[Sequence[Sequence[int]]]

    def save(self, path: Path) -> None:
        """Write a PNG that `read_sheet` takes apart again."""
        note = PngInfo()
        parts = {"titles": self.titles, "captions": self.captions, "boxes": self.boxes}
        note.add_text(_PARTS, json.dumps(parts))
        self.image.save(path, pnginfo=note)


def read_sheet(path: Path) -> ContactSheet:
    """An image of a report; without rows where it is no contact sheet."""
    with open_image(path) as file:
        image, text = file.convert("RGB"), file.info.get(_PARTS, "{}")
    try:
        parts = json.loads(text)
        found = parts.get("captions", ())
        captions = [Caption(id_, tuple(tags), note) for id_, tags, note in found]
        return ContactSheet(image, parts.get("titles", ()), captions, parts.get("boxes", ()))
    except (ValueError, TypeError, AttributeError):  # another program's note
        return ContactSheet(image, (), (), ())


def contact_sheet(
    rows: Sequence[Sequence[Pixels]],
    titles: Sequence[str],
    captions: Sequence[Caption] = (),
    width: int = 200,
) -> ContactSheet:
    """Rows of images under titles, every cell `width` pixels wide.

    Args:
        rows: images (H, W, 3); a row's may be of any one size.
        titles: of the columns.
        captions: of the rows, written above them; none leaves the lines out.
        width: of a cell.
    """
    line = _HEADER if captions else 0
    heights = [max(1, round(row[0].shape[0] * width / row[0].shape[1])) for row in rows]
    size = (
        (width + _GAP) * len(titles) + _GAP,
        _HEADER + sum(line + height + _GAP for height in heights),
    )
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(titles):
        draw.text((_GAP + column * (width + _GAP), 3), title, fill="black")
    top = _HEADER
    boxes: list[list[tuple[int, int, int, int]]] = []
    for i, (row, height) in enumerate(zip(rows, heights, strict=True)):
        if captions:
            draw.text((_GAP, top + 3), str(captions[i]), fill="black")
        top += line
        boxes.append([])
        for column, cell in enumerate(row):
            image = Image.fromarray(np.ascontiguousarray(cell)).resize((width, height))
            left = _GAP + column * (width + _GAP)
            sheet.paste(image, (left, top))
            boxes[-1].append((left, top, left + width, top + height))
        top += height + _GAP
    return ContactSheet(sheet, titles, captions, boxes)
