"""LabelMe's JSON, one an image, as masks: polygons, rectangles, circles and masks."""

import base64
import binascii
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsss.data.find_images import find_files, without_suffix
from wsss.errors import WsssError, first_line
from wsss.formats.instances import Shape, Size
from wsss.formats.mask_list import MaskList, MaskToWrite, Writing, of_shapes, size_said
from wsss.formats.polygons import fill, joined
from wsss.formats.rle import checked_points
from wsss.formats.target import Target
from wsss.formats.text import clean, excerpt, read_text

_SIDES = ("imageHeight", "imageWidth")


def read_masks(path: Path) -> MaskList:
    """The shapes of every JSON below a folder; the image has the name of the JSON.

    Raises:
        WsssError: a JSON is none of LabelMe's, or says that it is of an image of another name.
    """
    files = {without_suffix(name): path / name for name in sorted(find_files(path, (".json",)))}
    contents = {name: _content(file) for name, file in files.items()}
    sizes = {name: size_said(*map(content.get, _SIDES)) for name, content in contents.items()}
    entries = {name: _shapes(content, files[name]) for name, content in contents.items()}
    classes = sorted({label for found in entries.values() for label, _ in found})

    def shapes(name: str, size: Size) -> Iterator[Shape]:
        for number, (label, shape) in enumerate(entries[name], 1):
            try:
                pixels = _pixels(shape, size)
            except (ValueError, TypeError, KeyError, IndexError, OSError, binascii.Error) as error:
                raise WsssError(
                    f"Shape {number} of {files[name]} can't be read ({first_line(error)}); "
                    "expected a polygon, rectangle, circle or mask of its image: correct it."
                ) from None
            if pixels is not None:
                yield Shape(label, pixels)

    return of_shapes(path, entries, classes, shapes, sizes)


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(file, "The annotation"))
    except (ValueError, RecursionError) as error:
        raise WsssError(
            f"{file} is no JSON ({first_line(error)}); expected an annotation by LabelMe: save it "
            "again."
        ) from None
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise WsssError(f"{file} has no shapes; expected an annotation by LabelMe: take it away.")
    image = PurePosixPath(str(content.get("imagePath") or "").replace("\\", "/")).name
    names = {clean(name).casefold() for name in (image, without_suffix(image))}
    if image and clean(file.stem).casefold() not in names:
        raise WsssError(
            f"{file} is an annotation of {excerpt(image)}, as its imagePath says; expected one "
            "that is named after its image: rename it, or correct imagePath."
        )
    kept: dict[str, Any] = {k: content[k] for k in ("shapes", *_SIDES) if k in content}
    return kept


def _shapes(content: dict[str, Any], file: Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for number, shape in enumerate(content["shapes"], 1):
        label = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(label, str) or not clean(label):
            raise WsssError(
                f"Shape {number} of {file} is {excerpt(shape)}; expected a label: correct it."
            )
        found.append((clean(label), {k: v for k, v in shape.items() if k in _KEYS}))
    return found


_KEYS = ("points", "shape_type", "mask")


def _pixels(shape: dict[str, Any], size: Size) -> NDArray[np.bool_] | None:
    kind = shape.get("shape_type", "polygon")
    if kind in ("line", "point", "linestrip", "points"):  # without an area
        return None
    points = np.asarray(shape["points"], np.float64)
    if kind == "polygon":
        return fill([checked_points(points, size)], size)
    corners = checked_points(np.tile(points.reshape(-1, 2)[:2], (2, 1)), size)[:2]
    (x0, y0), (x1, y1) = corners
    if kind == "circle":
        angle = np.linspace(0, 2 * np.pi, 361)[:-1]
        ring = np.stack([x0 + 0 * angle, y0 + 0 * angle], 1)
        return fill(
            [ring + np.hypot(x1 - x0, y1 - y0) * np.stack([np.cos(angle), np.sin(angle)], 1)], size
        )
    if kind == "rectangle":
        return fill([np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])], size)
    if kind == "mask":
        return _of_png(shape["mask"], corners, size)
    raise ValueError(f"the shape_type {excerpt(kind)}")


def _of_png(text: str, corners: NDArray[np.float64], size: Size) -> NDArray[np.bool_]:
    """LabelMe's mask: a PNG in Base64, of the box from one corner to the other, both included."""
    with Image.open(io.BytesIO(base64.b64decode(text)), formats=("PNG",)) as file:
        if file.width > size[1] or file.height > size[0]:
            raise ValueError(f"a mask of {file.width}×{file.height}")
        cut = np.asarray(file.convert("L")) > 0
    left, top = (int(v) for v in corners.min(0))
    if min(left, top) < 0 or left + cut.shape[1] > size[1] or top + cut.shape[0] > size[0]:
        raise ValueError("a mask that reaches beyond its image")
    pixels = np.zeros(size, bool)
    pixels[top : top + cut.shape[0], left : left + cut.shape[1]] = cut
    return pixels


def write_masks(masks: Iterable[MaskToWrite], how: Writing, to: Target) -> None:
    """Writes `<id>.json` with polygons; the parts of one instance share a group."""
    for one in masks:
        height, width = one.mask.shape
        shapes = []
        for number, instance in enumerate(how.instances(one.mask), 1):
            parts = instance.parts()
            shapes += [
                {
                    "label": how.classes[instance.value - 1],
                    "points": joined(part).tolist(),
                    "group_id": number if len(parts) > 1 else None,
                    "shape_type": "polygon",
                    "flags": {},
                }
                for part in parts
            ]
        folder = (to.folder / f"{one.id}.json").parent
        content = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": one.name if one.image is None else os.path.relpath(one.image, folder),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        to.put(f"{one.id}.json", json.dumps(content, ensure_ascii=False, indent=1) + "\n")
