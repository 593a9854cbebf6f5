"""The formats that tags come in: recognised by what a file or folder holds, or named."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from wsss.errors import WsssError
from wsss.formats import (
    class_folders,
    coco,
    csv,
    cvat,
    huggingface,
    label_studio,
    tag_text,
    voc_folder,
    yolo,
)
from wsss.formats.tag_list import TagList
from wsss.formats.text import encoding_of


class TagFormat(NamedTuple):
    """A format.

    Attributes:
        title: what people call it.
        recognises: (path, first characters of a file, none of a folder) → whether it is this one.
        read: (path, classes where they are known) → images and tags.
    """

    title: str
    recognises: Callable[[Path, str], bool]
    read: Callable[[Path, Sequence[str] | None], TagList]


FORMATS: dict[str, TagFormat] = {
    "coco": TagFormat("COCO JSON", coco.recognises, coco.read_tags),
    "label-studio": TagFormat("Label Studio JSON", label_studio.recognises, label_studio.read_tags),
    "cvat": TagFormat("CVAT for images 1.1, XML", cvat.recognises, cvat.read_tags),
    "huggingface": TagFormat(
        "metadata.csv or metadata.jsonl of Hugging Face",
        huggingface.recognises,
        huggingface.read_tags,
    ),
    "yolo": TagFormat("YOLO labels with data.yaml", yolo.recognises, yolo.read_tags),
    "voc": TagFormat("a folder of VOC XML", voc_folder.recognises, voc_folder.read_tags),
    "folders": TagFormat(
        "a folder of images for every class", class_folders.recognises, class_folders.read_tags
    ),
    "text": TagFormat("`image: tag, tag` text", tag_text.recognises, tag_text.read_tags),
    "csv": TagFormat("CSV", csv.recognises, csv.read_tags),
}
"""By the name that `data.tags_format` takes; the first that recognises a path reads it."""

_SNIFFED = 1 << 16


def read_tags(
    path: Path, class_names: Sequence[str] | None = None, name: str | None = None
) -> TagList:
    """Reads images and tags in any of the formats.

    Args:
        path: file or folder.
        class_names: the classes, where they are known: they tell how a CSV's cell is meant.
        name: of the format; recognised if left out.

    Raises:
        WsssError: no format recognises it, or the one that does finds a fault.
    """
    chosen = FORMATS[name] if name else recognise(path)
    return chosen.read(path, class_names)


def recognise(path: Path) -> TagFormat:
    """The format of a file or folder.

    Raises:
        WsssError: it is none of them; a missing file is reported by the reader of CSV.
    """
    start = _start(path)
    for known in FORMATS.values():
        if known.recognises(path, start):
            return known
    kinds = ", ".join(f"{known.title}" for known in FORMATS.values())
    raise WsssError(
        f"{path} holds tags in no known format; expected one of {kinds}: name the file of tags "
        "itself, or say by data.tags_format which it is."
    )


def _start(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        with path.open("rb") as file:
            start = file.read(_SNIFFED)
    except OSError:  # reported by the reader
        return ""
    return start.decode(encoding_of(start), "replace").lstrip("\ufeff \t\r\n")
