"""Opening an image file: which formats, how large it is upright, which way up it was taken.

Everything that opens an image or a mask does it here, so that what a camera writes beside the
pixels (malformed EXIF, hundreds of megapixels) means the same everywhere.
"""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFile, features

from wsss.errors import WsssError, first_line

# formats whose decoder is Pillow's own: a renamed EPS would start another program
_FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "PPM", "AVIF", "JPEG2000"),
    *("HEIF", "TGA"),
)

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".jp2", ".ppm", ".pgm", ".tga"),
    *((".avif",) if features.check("avif") else ()),
    *((".heic", ".heif") if find_spec("pillow_heif") else ()),
)
"""Files that are taken for images, in any mix of capitals; the first wins over the later ones."""

MAX_PIXELS = 2**30
"""Larger images are refused: decoded, one would take more than 3 GB."""

ORIENTATION = 0x0112  # EXIF's tag

# Pillow refuses images of 179 megapixels, which cameras make; the limit is MAX_PIXELS
Image.MAX_IMAGE_PIXELS = None


class ImageHeader(NamedTuple):
    """What an image file says of itself.

    Attributes:
        width: in pixels, upright.
        height: in pixels, upright.
        mode: Pillow's, such as `RGB`, `P` or `I;16`.
        format: Pillow's, such as `JPEG`.
    """

    width: int
    height: int
    mode: str
    format: str


@contextmanager
def open_image(path: Path, what: str = "image") -> Iterator[ImageFile.ImageFile]:
    """Opens an image; whatever its decoder raises within the block becomes one sentence.

    Args:
        path: the file.
        what: `image` or `mask`, for the sentence.

    Raises:
        WsssError: the file is missing, is not an image, is cut off or larger than `MAX_PIXELS`.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # of malformed EXIF
            with Image.open(path, formats=_readable()) as file:
                if file.width * file.height > MAX_PIXELS:
                    raise WsssError(
                        f"The {what} {path} is {file.width}×{file.height}; expected at most "
                        f"{MAX_PIXELS >> 20} megapixels: cut it into parts, or reduce it."
                    )
                yield file
    except FileNotFoundError:
        raise WsssError(
            f"The {what} {path} does not exist; check the folder, or take it off the list."
        ) from None
    except WsssError:
        raise
    except Exception as error:  # decoders raise anything
        raise WsssError(
            f"The {what} {path} does not decode ({first_line(error)[:120]}); expected a whole "
            f"{'JPEG or PNG' if what == 'image' else '8-bit PNG'}: copy it again, or take it off "
            "the list."
        ) from error


def read_header(path: Path) -> ImageHeader:
    """Size and mode of an image, without decoding its pixels.

    Raises:
        WsssError: as `open_image`.
    """
    with open_image(path) as file:
        width, height = file.size
        if orientation(file) >= 5:  # on its side
            width, height = height, width
        return ImageHeader(width, height, file.mode, str(file.format))


def may_be_cut_off(path: Path) -> bool:
    """Whether a file may lack its end: no end mark in a JPEG or PNG, or another format."""
    with path.open("rb") as file:
        start = file.read(8)
        file.seek(max(path.stat().st_size - 4096, 0))
        end = file.read()
    if start[:2] == b"\xff\xd8":
        return b"\xff\xd9" not in end
    return start != b"\x89PNG\r\n\x1a\n" or b"IEND" not in end


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) to 8, read whatever else the EXIF holds.

    Pillow's own `exif_transpose` writes the whole EXIF again, and fails on one malformed tag.
    """
    if image.format in ("TIFF", "HEIF"):  # turned by their decoders
        return 1
    exif = image.info.get("exif", b"")
    if not exif and image.format == "PNG" and isinstance(image, ImageFile.ImageFile):
        exif = _png_exif(Path(str(image.filename)))
    found = exif_orientation(exif)
    if found is None and (image.format != "PNG" or _PNG_NOTES & image.info.keys()):
        try:  # XMP, or EXIF in a text chunk; a PNG without either would be decoded for it
            found = image.getexif().get(ORIENTATION)
        except Exception:  # malformed: no orientation can be had
            found = None
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


_PNG_NOTES = {"Raw profile type exif", "XML:com.adobe.xmp", "xmp"}


def _png_exif(path: Path) -> bytes:
    """EXIF of a PNG that stands behind the pixels, where Pillow finds it by decoding them."""
    with path.open("rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return file.read(size)
            file.seek(size + 4, 1)
    return b""


def exif_orientation(exif: bytes) -> int | None:
    """The orientation in the first directory of EXIF data; None where there is none.

    Args:
        exif: a TIFF structure, which starts `II` or `MM`, with or without `Exif` in front.
    """
    data = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    try:
        if order is None:
            return None
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for entry in range(count):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", data, start + 2 + 12 * entry)
            if tag == ORIENTATION:
                size = {1: "B", 4: "I", 6: "b", 9: "i"}.get(kind, "H")  # a short, but for a few
                (value,) = struct.unpack_from(order + size, data, start + 10 + 12 * entry)
                return int(value)
    except struct.error:  # cut off before the tag
        pass
    return None


@cache
def _readable() -> tuple[str, ...]:
    if find_spec("pillow_heif"):
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener()
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)
