"""Label Studio's JSON as masks: brushes, polygons and rectangles; written as predictions."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from wsss.errors import WsssError, first_line
from wsss.formats.brush import decode_brush, encode_brush
from wsss.formats.instances import Instance, Shape, Size
from wsss.formats.json_stream import stream_json
from wsss.formats.label_studio import UPLOADED, image_of
from wsss.formats.mask_list import (
    MaskList,
    MaskToWrite,
    Writing,
    of_shapes,
    refuse_other_size,
    refuse_twice,
    size_said,
)
from wsss.formats.polygons import fill, joined
from wsss.formats.rle import checked_points
from wsss.formats.target import Target
from wsss.formats.text import clean, excerpt

FILE = "tasks.json"
_LABELS = ("brushlabels", "polygonlabels", "rectanglelabels")


def read_masks(path: Path) -> MaskList:
    """The regions of the last annotation of every task that was submitted, and not cancelled."""
    file = path / FILE if path.is_dir() else path
    found: dict[str, list[Region]] = {}
    for number, (_, task) in enumerate(stream_json(file, "The annotations"), 1):
        name = image_of(task, f"Task {number} of {file}")
        regions = _regions(task)
        if regions is not None:
            refuse_twice(name, found, file)
            found[name] = regions
    classes = sorted({region.label for regions in found.values() for region in regions})

    def shapes(name: str, size: Size) -> Iterator[Shape]:
        for number, region in enumerate(found[name], 1):
            place = f"The image of region {number} of {excerpt(name)} of {file}"
            if not _proportional(region.size, size):  # places are shares of the sides
                refuse_other_size(region.size, size, place)
            try:
                yield Shape(region.label, _pixels(region.value, size))
            except (ValueError, TypeError, KeyError) as error:
                raise WsssError(
                    f"Region {number} of the image {name} of {file} can't be read "
                    f"({first_line(error)}); expected a brush, polygon or rectangle of that image: "
                    "export it again."
                ) from None

    return of_shapes(file, found, classes, shapes, prefix=UPLOADED)


class Region(NamedTuple):
    """A label, what it covers, and the size of the image that it was drawn on, if that is said."""

    label: str
    value: dict[str, Any]
    size: Size | None


def _proportional(said: Size | None, size: Size) -> bool:
    """Whether an image was at most enlarged or reduced, up to a pixel of rounding."""
    if said is None:
        return True
    return abs(said[0] * size[1] - said[1] * size[0]) <= max(*said, *size)


def _regions(task: dict[str, Any]) -> list[Region] | None:
    """The regions; None where nobody has annotated."""
    annotations = task.get("annotations")
    done = [a for a in annotations if _counts(a)] if isinstance(annotations, list) else []
    if not done:
        return None
    results = done[-1].get("result")
    return [
        Region(
            clean(labels[0]),
            value,
            size_said(result.get("original_height"), result.get("original_width")),
        )
        for result in results or ()
        if isinstance(result, dict) and isinstance(value := result.get("value"), dict)
        for key in _LABELS
        if isinstance(labels := value.get(key), list) and labels and isinstance(labels[0], str)
    ]


def _counts(annotation: Any) -> bool:
    return isinstance(annotation, dict) and not annotation.get("was_cancelled")


def _pixels(value: dict[str, Any], size: Size) -> NDArray[np.bool_]:
    if "rle" in value:
        return decode_brush(value["rle"], size)
    scale = np.array([size[1], size[0]], np.float64) / 100
    if "points" in value:
        return fill(
            [checked_points(np.asarray(value["points"], np.float64), (100, 100)) * scale], size
        )
    x, y, w, h = (float(value[key]) for key in ("x", "y", "width", "height"))
    angle = np.deg2rad(float(value.get("rotation") or 0))
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]]) * scale
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    ring = corners @ turn + np.array([x, y]) * scale
    return fill([checked_points(ring, size)], size)


def write_masks(masks: Iterable[MaskToWrite], how: Writing, to: Target) -> None:
    """Writes `tasks.json`, tasks with predictions, and `config.xml`, the labels of the project."""

    def parts() -> Iterator[bytes]:
        yield b"["
        for count, one in enumerate(masks):
            results = [
                result
                for number, instance in enumerate(how.instances(one.mask), 1)
                for result in _results(instance, how, f"{one.number}-{number}")
            ]
            task = {
                "data": {"image": f"/data/local-files/?d={quote(one.name)}"},
                "predictions": [{"model_version": "wsss", "result": results}],
            }
            yield b",\n" * (count > 0) + json.dumps(task).encode()
        yield b"]\n"

    kind = "Polygon" if how.polygons else "Brush"
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in how.classes)
    config = (
        f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <{kind}Labels name="tag" toName="image">\n{labels}  </{kind}Labels>\n</View>\n'
    )
    to.put("config.xml", config)
    to.put(FILE, parts())


def _results(instance: Instance, how: Writing, id_: str) -> Iterator[dict[str, Any]]:
    name = how.classes[instance.value - 1]
    height, width = instance.size
    base = {
        "from_name": "tag",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
    }
    if not how.polygons:
        brush = {"format": "rle", "rle": encode_brush(instance.whole()), "brushlabels": [name]}
        yield {"id": id_, "type": "brushlabels", **base, "value": brush}
        return
    for number, part in enumerate(instance.parts()):
        points = (joined(part) * 100 / np.array([width, height])).tolist()
        value: dict[str, Any] = {"points": points, "closed": True, "polygonlabels": [name]}
        yield {"id": f"{id_}-{number}", "type": "polygonlabels", **base, "value": value}
