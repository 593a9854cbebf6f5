"""A folder of VOC's XML, one an image, without lists: the image has the name of the XML."""

from collections.abc import Sequence
from pathlib import Path

from wsss.data.find_images import find_files, without_suffix
from wsss.formats.tag_list import Collector, TagList
from wsss.formats.voc_xml import read_objects


def recognises(path: Path, start: str) -> bool:
    """Whether a folder holds XML files."""
    return path.is_dir() and next(find_files(path, (".xml",)), None) is not None


def read_tags(path: Path, class_names: Sequence[str] | None = None) -> TagList:
    """The names of the objects in every XML below a folder, those marked difficult too.

    Raises:
        WsssError: as `read_objects`.
    """
    rows = Collector(path)
    for name in sorted(find_files(path, (".xml",))):
        rows.add(without_suffix(name), read_objects(path / name), f"The annotation {path / name}")
    return rows.done()
