"""A mask over its image with outlines, names and a legend: for people who only want to look."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from wsss.data.augment import resize_mask
from wsss.data.image_header import open_image
from wsss.errors import WsssError
from wsss.files import write_atomic
from wsss.labels import IGNORE_INDEX
from wsss.report.colours import colours_of

Pixels = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SIDES = (640, 1600)  # least and greatest long side of an overlay
_FILL = 0.45  # opacity of a region
_NAMED = 0.004  # share of the overlay from which on a region bears its name
_MARK = b"wsss overlay"  # a comment in the JPEG
_UNSURE = (190, 190, 190)


class _Entry(NamedTuple):
    """A line of the legend."""

    colour: tuple[int, int, int]
    text: str


def overlay(image: Pixels, mask: Pixels, names: Sequence[str]) -> Image.Image:
    """Draw a mask over its image: regions filled, outlined and named, what they are below.

    Colours are those of `wsss.report.colours`; 255 is hatched. The long side becomes 640 to 1600
    pixels.

    Args:
        image: (H, W, 3) RGB.
        mask: (H, W), class indices, 255 where not confident; of the image's size.
        names: foreground classes in the order of their values.

    Returns:
        The overlay, as wide as the image that it shows, with the legend below it.
    """
    shown, labels = _sized(image, mask)
    present = [int(v) for v in np.unique(labels) if 0 < v <= len(names) and v != IGNORE_INDEX]
    colours = colours_of(present)
    painted = _paint(shown, labels, colours)
    font = ImageFont.load_default(max(13, round(max(shown.shape[:2]) / 42)))
    canvas = Image.fromarray(painted)
    for label in present:
        _name(canvas, labels == label, _printable(names[label - 1], label), font)
    shares = {label: float((labels == label).mean()) for label in (*present, IGNORE_INDEX)}
    entries = [
        _Entry(colours[label], f"{_printable(names[label - 1], label)} {_percent(shares[label])}")
        for label in sorted(present, key=lambda label: -shares[label])
    ]
    if shares[IGNORE_INDEX]:
        entries.append(_Entry(_UNSURE, f"unsure {_percent(shares[IGNORE_INDEX])}"))
    return _with_legend(canvas, entries or [_Entry((0, 0, 0), "background alone")], font)


def write_overlay(path: Path, image: Pixels, mask: Pixels, names: Sequence[str]) -> None:
    """Write an overlay as JPEG or PNG, by the suffix; see `overlay`."""
    drawn = overlay(image, mask, names)
    write_atomic(path, lambda target: drawn.save(target, quality=90, comment=_MARK))


def is_overlay(path: Path) -> bool:
    """Whether a JPEG is one that `write_overlay` wrote."""
    try:
        with open_image(path) as file:
            return file.info.get("comment") == _MARK
    except WsssError:
        return False


def _sized(image: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
    height, width = image.shape[:2]
    long = max(height, width)
    wanted = min(max(long, _SIDES[0]), _SIDES[1])
    size = (max(1, round(height * wanted / long)), max(1, round(width * wanted / long)))
    way = cv2.INTER_AREA if wanted < long else cv2.INTER_CUBIC
    shown = image if wanted == long else cv2.resize(image, size[::-1], interpolation=way)
    return np.asarray(shown, np.uint8), resize_mask(mask, size)


def _paint(image: Pixels, labels: Pixels, colours: dict[int, tuple[int, int, int]]) -> Pixels:
    """Fill the regions, hatch what is unsure, draw outlines that are dark outside."""
    table = np.zeros((256, 3), np.float32)
    for label, colour in colours.items():
        table[label] = colour
    table[IGNORE_INDEX] = _UNSURE
    rows, columns = np.ogrid[: labels.shape[0], : labels.shape[1]]
    pitch = max(6, round(max(labels.shape) / 90))
    hatched = (rows + columns) % pitch < pitch // 3
    filled = np.isin(labels, list(colours)) | ((labels == IGNORE_INDEX) & hatched)
    weight = _FILL * filled[..., None]
    painted = ((1 - weight) * image + weight * table[labels]).astype(np.uint8)
    thickness = max(1, round(max(labels.shape) / 500))
    for label, colour in colours.items():
        contours = cv2.findContours(
            (labels == label).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )[0]
        cv2.drawContours(painted, contours, -1, (0, 0, 0), 2 * thickness + 1, cv2.LINE_AA)
        cv2.drawContours(painted, contours, -1, colour, 2 * thickness, cv2.LINE_AA)
    return painted


def _name(canvas: Image.Image, region: NDArray[np.bool_], text: str, font: Font) -> None:
    """Write a class's name in its largest piece, where the piece is widest."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    largest = max(range(1, count), key=lambda i: stats[i, cv2.CC_STAT_AREA])
    if stats[largest, cv2.CC_STAT_AREA] < _NAMED * region.size:
        return
    piece = np.pad(pieces == largest, 1).astype(np.uint8)
    depth = cv2.distanceTransform(piece, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    draw = ImageDraw.Draw(canvas)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font, stroke_width=2)
    width, height = right - left, bottom - top
    at = (
        min(max(float(x) - width / 2, 2), max(canvas.width - width - 2, 2)) - left,
        min(max(float(y) - height / 2, 2), max(canvas.height - height - 2, 2)) - top,
    )
    draw.text(at, text, "white", font, stroke_width=2, stroke_fill="black")


def _with_legend(canvas: Image.Image, entries: Sequence[_Entry], font: Font) -> Image.Image:
    """The image with swatches and texts below it, in as many lines as they need."""
    measure = ImageDraw.Draw(canvas)
    line = round(1.7 * measure.textbbox((0, 0), "Åg", font=font)[3])
    swatch = round(0.5 * line)
    places: list[tuple[float, int]] = []
    x, row = float(swatch), 0
    for entry in entries:
        wide = 2.5 * swatch + measure.textlength(entry.text, font=font)
        if x > swatch and x + wide > canvas.width:
            x, row = float(swatch), row + 1
        places.append((x, row))
        x += wide + swatch
    sheet = Image.new("RGB", (canvas.width, canvas.height + (row + 1) * line + swatch), "white")
    sheet.paste(canvas)
    draw = ImageDraw.Draw(sheet)
    for entry, (x, row) in zip(entries, places, strict=True):
        middle = canvas.height + swatch / 2 + (row + 0.5) * line
        box = (x, middle - swatch / 2, x + 1.5 * swatch, middle + swatch / 2)
        draw.rectangle(box, entry.colour, "black")
        draw.text((x + 2 * swatch, middle), entry.text, "black", font, anchor="lm")
    return sheet


def _printable(name: str, value: int) -> str:
    """A class's name; its mask value where the font lacks its letters."""
    return name if all(ord(letter) < 0x250 for letter in name) else f"class {value}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else "<1 %"
