"""Whether an image can be read: by its header, or by its pixels as well."""

from pathlib import Path

from wsss.data.image_header import ImageHeader, ends_early, read_header
from wsss.data.images import read_image


def check_image(path: Path, verify: bool = False) -> ImageHeader:
    """Checks that an image can be read; returns what its header says.

    Args:
        path: the file.
        verify: decode the pixels too. They are in any case where a JPEG or PNG has no end mark,
            so that a file that was cut off is found by its header and its last bytes.

    Raises:
        WsssError: it can't be read.
    """
    header = read_header(path)
    if verify or ends_early(path):
        read_image(path)
    return header
