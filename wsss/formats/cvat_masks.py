"""CVAT for images 1.1 as masks: read from masks, polygons and boxes, written as pre-annotation."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from wsss.errors import WsssError
from wsss.formats.cvat import FILE, file_of, labels_of, name_of
from wsss.formats.instances import Instance, Shape, Size
from wsss.formats.mask_list import (
    MaskList,
    MaskToWrite,
    Writing,
    of_shapes,
    refuse_twice,
    size_said,
)
from wsss.formats.polygons import fill, joined
from wsss.formats.rle import checked_points, fill_runs, runs_of
from wsss.formats.target import Target
from wsss.formats.text import clean, excerpt
from wsss.formats.xml_stream import stream_xml

_PAINTED = ("mask", "polygon")


def read_masks(path: Path) -> MaskList:
    """The masks and polygons of every image that has one; boxes are no masks."""
    file = file_of(path)
    found: dict[str, list[Element]] = {}
    sizes: dict[str, Size | None] = {}
    labels: list[str] = []
    for number, element in enumerate(stream_xml(file), 1):
        if element.tag == "meta":
            labels = labels_of(element)
        elif element.tag == "image":
            painted = [shape for shape in element if shape.tag in _PAINTED]
            if painted:
                name = name_of(element, file, number)
                refuse_twice(name, found, file)
                found[name], sizes[name] = painted, _size(element)
    used = {clean(shape.get("label", "")) for own in found.values() for shape in own}

    def shapes(name: str, size: Size) -> Iterator[Shape]:
        for number, shape in enumerate(found[name], 1):
            try:
                layer = int(shape.get("z_order", 0))
                pixels = _pixels(shape, size)
            except ValueError as error:
                raise WsssError(
                    f"Shape {number} of the image {excerpt(name)} of {file} has {error}; expected "
                    "a mask or polygon of that image: correct it, or export it again."
                ) from None
            yield Shape(clean(shape.get("label", "")), pixels, layer)

    return of_shapes(file, found, [*labels, *sorted(used - set(labels))], shapes, sizes)


def _size(image: Element) -> Size | None:
    sides = image.get("height", ""), image.get("width", "")
    return size_said(*map(int, sides)) if all(map(str.isdecimal, sides)) else None


def _pixels(shape: Element, size: Size) -> NDArray[np.bool_]:
    if shape.tag == "polygon":
        numbers = shape.get("points", "").replace(";", ",").split(",")
        return fill([checked_points(np.array(numbers, np.float64), size)], size)
    left, top, width, height = (int(shape.get(k, -1)) for k in ("left", "top", "width", "height"))
    inside = left >= 0 <= top and width > 0 < height
    if not inside or left + width > size[1] or top + height > size[0]:
        raise ValueError(f"a mask that reaches beyond an image of {size[1]}×{size[0]}")
    runs = [int(run) for run in shape.get("rle", "").split(",")]
    pixels = np.zeros(size, bool)
    cut = fill_runs(runs, width * height).reshape(height, width)
    pixels[top : top + height, left : left + width] = cut
    return pixels


def write_masks(masks: Iterable[MaskToWrite], how: Writing, to: Target) -> None:
    """Writes `annotations.xml`, to be uploaded to a task with the same images."""

    def parts() -> Iterator[bytes]:
        labels = "".join(
            f"<label><name>{quoteattr(name)[1:-1]}</name><type>any</type></label>\n"
            for name in how.classes
        )
        yield (
            '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
            f"<meta><task><labels>\n{labels}</labels></task></meta>\n"
        ).encode()
        for one in masks:
            height, width = one.mask.shape
            shapes = "".join(
                _shape(instance, name, how.polygons)
                for instance in how.instances(one.mask)
                for name in (quoteattr(how.classes[instance.value - 1]),)
            )
            yield (
                f'<image id="{one.number - 1}" name={quoteattr(one.name)} width="{width}" '
                f'height="{height}">\n{shapes}</image>\n'
            ).encode()
        yield b"</annotations>\n"

    to.put(FILE, parts())


def _shape(instance: Instance, name: str, polygons: bool) -> str:
    if polygons:
        rings = (joined(part) for part in instance.parts())
        return "".join(
            f'<polygon label={name} source="auto" occluded="0" z_order="0" points="'
            + ";".join(f"{x:g},{y:g}" for x, y in ring)
            + '"/>\n'
            for ring in rings
        )
    left, top, width, height = instance.box
    runs = ", ".join(map(str, runs_of(instance.pixels.ravel())))
    return (
        f'<mask label={name} source="auto" occluded="0" z_order="0" rle="{runs}" left="{left}" '
        f'top="{top}" width="{width}" height="{height}"/>\n'
    )
