"""The pictures that a config names: a split of a folder in VOC layout, or one's own with a CSV."""

from wsss.config import DataConfig
from wsss.data.tags import TaggedPictures, read_folder, read_voc
from wsss.errors import WsssError


def open_tagged(data: DataConfig, split: str) -> TaggedPictures:
    """Pictures with tags.

    Args:
        data: where they are.
        split: list of a VOC folder; one's own pictures have no splits, all are taken.

    Raises:
        WsssError: the folder, the list, a picture or a tag is missing or wrong.
    """
    if data.images is not None and data.tags is not None:
        return read_folder(data.images, data.tags)
    assert data.root is not None  # DataConfig has one source
    if not data.root.is_dir():
        raise WsssError(
            f"No folder at data.root={data.root}: give a folder in VOC layout "
            "(wsss fetch-voc downloads VOC 2012)."
        )
    return read_voc(data.root, split)
