"""YOLO's label files as masks: polygons of classes, with `data.yaml`."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from wsss.errors import WsssError
from wsss.formats.instances import Shape, Size
from wsss.formats.mask_list import MaskList, MaskToWrite, Writing, of_shapes
from wsss.formats.polygons import fill, joined
from wsss.formats.rle import checked_points
from wsss.formats.target import Target
from wsss.formats.yolo import image_of, label_files, open_labels, read_shapes


def read_masks(path: Path) -> MaskList:
    """The masks of every label file; lines of four numbers are boxes and are not painted."""
    folder, names = open_labels(path)
    files = {image_of(file): folder / file for file in label_files(folder)}

    def shapes(name: str, size: Size) -> Iterator[Shape]:
        scale = np.array([size[1], size[0]], np.float64)
        for line, number, numbers in read_shapes(files[name], len(names)):
            if len(numbers) == 4:
                continue
            try:
                points = checked_points(np.array(numbers[: len(numbers) // 2 * 2]), (1, 1)) * scale
            except ValueError as error:
                raise WsssError(
                    f"Line {line} of {files[name]} has {error}; expected a polygon in shares of "
                    "the image: correct the line."
                ) from None
            yield Shape(names[number], fill([points], size))

    return of_shapes(folder, files, names, shapes)


def write_masks(masks: Iterable[MaskToWrite], how: Writing, to: Target) -> None:
    """Writes `labels/<id>.txt`, `data.yaml` and, where they are known, `images/<id>`.

    A line is a connected part; its holes are cut open.
    """
    for one in masks:
        height, width = one.mask.shape
        scale = np.array([width, height], np.float64)
        lines = [
            f"{instance.value - 1} "
            + " ".join(f"{number:.6g}" for number in (joined(part) / scale).ravel())
            for instance in how.instances(one.mask)
            for part in instance.parts()
        ]
        to.put(f"labels/{one.id}.txt", "".join(f"{line}\n" for line in lines))
        if one.image is not None:  # YOLO looks for labels beside the images themselves
            to.link(f"images/{one.id}{PurePosixPath(one.name).suffix}", one.image)
    names = "".join(
        f"  {number}: {json.dumps(name, ensure_ascii=False)}\n"
        for number, name in enumerate(how.classes)
    )
    to.put("data.yaml", f"path: .\ntrain: images\nval: images\nnames:\n{names}")
