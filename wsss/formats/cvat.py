"""CVAT for images 1.1: an XML whose images hold tags and shapes, each with a label."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from wsss.errors import WsssError
from wsss.formats.tag_list import Collector, TagList
from wsss.formats.text import clean
from wsss.formats.xml_stream import stream_xml

FILE = "annotations.xml"
_ROOT = re.compile(r"(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<annotations[\s>]", re.DOTALL)


def recognises(path: Path, start: str) -> bool:
    """Whether it is an XML, or a folder with `annotations.xml`, as CVAT's archive has it."""
    if path.is_dir():
        return (path / FILE).is_file()
    return path.suffix.lower() == ".xml" or _ROOT.match(start) is not None


def read_tags(path: Path, class_names: Sequence[str] | None = None) -> TagList:
    """The labels of every image's tags and shapes; classes in the order of the task's labels.

    Raises:
        WsssError: it can't be read, is that of a video, or an image has no name.
    """
    file = file_of(path)
    rows = Collector(file)
    labels: list[str] = []
    for number, element in enumerate(stream_xml(file), 1):
        if element.tag == "meta":
            labels = labels_of(element)
        elif element.tag == "image":
            name, place = name_of(element, file, number), f"Image {element.get('name')} of {file}"
            rows.add(name, (label for shape in element if (label := shape.get("label"))), place)
        elif element.tag == "track":
            raise WsssError(
                f"{file} holds tracks of a video; expected CVAT for images 1.1: export the task in "
                "that format."
            )
    return rows.done(labels or None)


def file_of(path: Path) -> Path:
    """The XML itself, where the folder of the archive was named."""
    return path / FILE if path.is_dir() else path


def labels_of(meta: ET.Element) -> list[str]:
    """Names of the task's or project's labels, parts of skeletons left out."""
    return [
        clean(name)
        for label in meta.iter("label")
        if (name := label.findtext("name")) and not clean(label.findtext("parent") or "")
    ]


def name_of(image: ET.Element, file: Path, number: int) -> str:
    """File name of an image.

    Raises:
        WsssError: it has none.
    """
    name = clean(image.get("name") or "")
    if not name:
        raise WsssError(
            f"Element {number} of {file} is an image without a name; expected the name of its "
            "file: export the task again."
        )
    return name
