"""A folder of images for every class, as ImageFolder has it: the folder's name is the tag."""

from collections.abc import Sequence
from pathlib import Path

from wsss.data.find_images import find_images, one_of_each_name
from wsss.errors import WsssError
from wsss.formats.tag_list import Collector, TagList

_SPLITS = {"train", "training", "val", "valid", "validation", "test"}


def recognises(path: Path, start: str) -> bool:
    """Whether a folder has no files of tags and a subfolder with images."""
    return path.is_dir() and any("/" in image for image in find_images(path).paths)


def read_tags(path: Path, class_names: Sequence[str] | None = None) -> TagList:
    """The images of a folder, each with the name of the first folder that it lies in.

    Raises:
        WsssError: there are no images, one lies in no folder of a class, or the folders are splits.
    """
    found, _ = one_of_each_name(path, find_images(path).paths)
    tops = {image.partition("/")[0].casefold() for image in found}
    if tops <= _SPLITS and any(image.count("/") > 1 for image in found):
        raise WsssError(
            f"{path} holds the folders {', '.join(sorted(tops))}, which are splits and no classes; "
            "expected a folder for every class: name the one of the training images."
        )
    rows = Collector(path)
    for image in found:
        folder, _, rest = image.partition("/")
        if not rest:
            raise WsssError(
                f"{path} holds the image {image} beside folders of classes; expected every image "
                "in the folder of its class: move it there, or name a file of tags."
            )
        rows.add(image, (folder,), f"The folder {path / folder}")
    return rows.done()
