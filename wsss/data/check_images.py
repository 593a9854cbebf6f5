"""Whether an image can be read: by its header, or by its pixels as well."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from wsss.data.image_header import ImageHeader, may_be_cut_off, read_header
from wsss.data.images import TaggedDataset, read_image
from wsss.errors import WsssError


def check_image(path: Path, verify: bool = False) -> ImageHeader:
    """Checks that an image can be read; returns what its header says.

    Args:
        path: the file.
        verify: decode the pixels too. They are in any case where a file may be cut off: a JPEG or
            PNG without its end mark, or another format, whose end can't be told.

    Raises:
        WsssError: it can't be read.
    """
    header = read_header(path)
    if verify or may_be_cut_off(path):
        read_image(path)
    return header


def damaged_images(paths: Iterable[Path]) -> dict[Path, str]:
    """The images that can't be read, each with its sentence, in their order."""

    def check(path: Path) -> str | None:
        try:
            check_image(path)
        except WsssError as error:
            return str(error)
        return None

    listed = list(dict.fromkeys(paths))
    with ThreadPoolExecutor() as pool:  # decoding leaves Python's lock
        found = zip(listed, pool.map(check, listed), strict=True)
        return {path: sentence for path, sentence in found if sentence is not None}


def without_damaged(tagged: TaggedDataset) -> tuple[TaggedDataset, dict[Path, str]]:
    """The images that can be read, and what is wrong with the others.

    Returns:
        The readable part, its classes unchanged, and a sentence for every image left out.
    """
    damaged = damaged_images(sample.path for sample in tagged.samples)
    kept = tuple(sample for sample in tagged.samples if sample.path not in damaged)
    return replace(tagged, samples=kept), damaged
