"""Masks on disk: 8-bit indexed PNGs with VOC's palette.

Every stage that writes or reads a mask does it here, so that a mask is the same thing
everywhere: mode P, value = class index with background 0, 255 = void or not confident.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wsss.data.image_header import open_image
from wsss.errors import WsssError
from wsss.files import write_atomic, write_text
from wsss.labels import CLASS_NAMES_FILE, IGNORE_INDEX, class_lines

VOC_FOLDERS = ("SegmentationClassAug", "SegmentationClass")
"""Where VOC's layout has masks; the first has more of them."""

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""Iterates with progress: items, title, how many."""

_INDEX_MODES = ("1", "P", "L", "I", "I;16", "I;16B", "I;16L", "I;16N")

_ORIGIN, _NOTE = "wsss-origin", "wsss-doubt"  # keywords of a mask's notes in its PNG
_LONGEST = 1 << 20  # bytes of a chunk before the pixels


def palette() -> NDArray[np.uint8]:
    """VOC's colours: the bits of the index, dealt to R, G, B in turn from the top bit down.

    Returns:
        (256, 3) uint8; 0 is black, 1 (128, 0, 0), 15 (192, 128, 128), 255 (224, 224, 192).
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for level in range(8):
        for channel in range(3):
            bit = (index >> (3 * level + channel)) & 1
            colours[:, channel] |= (bit << (7 - level)).astype(np.uint8)
    return colours


def read_mask(path: Path) -> NDArray[np.uint8]:
    """Reads a mask of class indices: an indexed (mode P) or grey image of any depth.

    Returns:
        (H, W) uint8, class indices, 255 where void.

    Raises:
        WsssError: the file is missing, does not decode, holds colours instead of indices, or
            values that are no index of 8 bits.
    """
    with open_image(path, "mask") as file:
        return indices_of(file, f"The mask {path}")


def indices_of(image: Image.Image, what: str) -> NDArray[np.uint8]:
    """The class indices of a mask that was opened.

    Args:
        image: indexed or grey, of any depth.
        what: it is, for the sentence.

    Returns:
        (H, W) uint8.

    Raises:
        WsssError: it holds colours, or values that are no index of 8 bits.
    """
    if image.mode not in _INDEX_MODES:
        raise WsssError(
            f"{what} has mode {image.mode}; expected class indices, 8 bits per pixel (mode P or "
            "L): convert colours to indices first."
        )
    values = np.array(image)
    if values.dtype not in (np.uint8, np.bool_):
        strange = values[(values < 0) | (values > IGNORE_INDEX)]
        if strange.size:
            raise WsssError(
                f"{what} holds the value {strange[0]}; expected class indices of 8 bits, "
                "0 to 254 and 255 where void: write the classes' own indices."
            )
    return values.astype(np.uint8, copy=False)


def read_origin(path: Path) -> str | None:
    """What a mask was made of, as `write_mask` noted it; None where there is no mask or no note."""
    return _read_text(path, _ORIGIN)


def read_note(path: Path) -> str | None:
    """What `write_mask` noted beside the origin; None where there is no mask or no note."""
    return _read_text(path, _NOTE)


def _read_text(path: Path, key: str) -> str | None:
    """A text of a PNG's head: a twelfth of the time that Pillow takes to open one of many masks."""
    wanted = key.encode() + b"\0"
    try:
        with path.open("rb") as file:
            for kind, data in _head(file):
                if kind == b"tEXt" and data.startswith(wanted):
                    return data[len(wanted) :].decode("latin-1")
    except OSError:
        pass
    return None


def _head(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of a PNG's chunks up to its pixels, as far as they are whole."""
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        return
    while len(start := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", start)
        if kind == b"IDAT" or length > _LONGEST:
            return
        data, checksum = file.read(length), file.read(4)
        if checksum != zlib.crc32(kind + data).to_bytes(4, "big"):
            return
        yield kind, data


def _has_origin(path: Path) -> bool:
    return read_origin(path) is not None


def refuse_to_replace(
    paths: Iterable[Path], made_here: Callable[[Path], bool] = _has_origin
) -> None:
    """Refuse to replace files that were not made here: another program's, or a person's.

    Args:
        paths: of files to be written; those that don't exist are fine.
        made_here: tells one of ours; a mask by the note of `write_mask`.

    Raises:
        WsssError: one of them exists, and was not made here.
    """
    foreign = [path for path in paths if path.exists() and not made_here(path)]
    if foreign:
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        raise WsssError(
            f"{foreign[0]}{more} was not made by this program and would be replaced; expected a "
            "folder without it: give another one (--out), or --overwrite to replace it."
        )


def write_mask(
    path: Path,
    mask: NDArray[np.integer],
    palette: NDArray[np.uint8] | None = None,
    origin: str | None = None,
    note: str | None = None,
) -> None:
    """Writes a mask as an 8-bit indexed PNG (mode P), whole or not at all.

    The same mask gives the same bytes; missing folders are made; a process killed while writing
    leaves the former file, or none.

    Args:
        path: where to; by convention `<id>.png`.
        mask: (H, W) integers in 0..255, class indices, 255 = not confident.
        palette: (256, 3) uint8 colours to show it with; VOC's when left out.
        origin: short ASCII text that says what the mask was made of, kept in the PNG's metadata,
            so that mask and note are written as one.
        note: anything else that is kept so, in ASCII.

    Raises:
        ValueError: `mask` is not (H, W) integers in 0..255.
        WsssError: the disk is full, read-only or not writable.
    """
    image = Image.fromarray(_as_bytes(mask))
    image.putpalette((_VOC_PALETTE if palette is None else palette).astype(np.uint8).tobytes())
    notes = PngInfo()
    for key, text in ((_ORIGIN, origin), (_NOTE, note)):
        if text is not None:
            notes.add_text(key, text)
    write_atomic(path, lambda target: image.save(target, format="PNG", pnginfo=notes))


def encode_mask(mask: NDArray[np.integer]) -> bytes:
    """The bytes of such a PNG, with VOC's palette and without notes.

    Raises:
        ValueError: as `write_mask`.
    """
    image = Image.fromarray(_as_bytes(mask))
    image.putpalette(_VOC_PALETTE.tobytes())
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    return encoded.getvalue()


def _as_bytes(mask: NDArray[np.integer]) -> NDArray[np.uint8]:
    if mask.ndim != 2 or mask.size == 0 or not np.issubdtype(mask.dtype, np.integer):
        raise ValueError(f"a mask is (H, W) integers, got {mask.dtype} of shape {mask.shape}")
    if mask.dtype != np.uint8 and not (mask.min() >= 0 and mask.max() <= 255):
        raise ValueError(f"a mask holds 0..255, got {mask.min()}..{mask.max()}")
    return np.ascontiguousarray(mask, dtype=np.uint8)


_VOC_PALETTE = palette()


def write_class_names(folder: Path, names: Sequence[str]) -> None:
    """Write `class_names.txt`: `0 background`, `1 <first class>`, …; kept where it says so.

    Args:
        folder: of masks.
        names: foreground classes in the order of their values.
    """
    path, text = folder / CLASS_NAMES_FILE, "\n".join(class_lines(names)) + "\n"
    if not path.is_file() or path.read_bytes() != text.encode():
        write_text(path, text)


def refuse_other_class_names(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder whose `class_names.txt` names other classes, or in another form.

    Args:
        folder: of masks; it need not exist.
        names: foreground classes in the order of their values.

    Raises:
        WsssError: writing `names` there would replace what the file says.
    """
    path, expected = folder / CLASS_NAMES_FILE, class_lines(names)
    if not path.exists():
        return
    try:
        found = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        found = []
    line = next((i for i, text in enumerate(expected) if found[i : i + 1] != [text]), len(expected))
    if found != expected:
        says = repr(found[line][:60]) if line < len(found) else "an end"
        raise WsssError(
            f"Line {line + 1} of {path} has {says}; expected "
            f"{repr(expected[line]) if line < len(expected) else 'an end'}, as this model's masks "
            "mean it: give another folder (--out), or --overwrite to replace the file."
        )


def check_values(path: Path, mask: NDArray[np.uint8], names: Sequence[str]) -> None:
    """Refuse a mask with a value that is neither background, a class, nor void.

    Args:
        path: of the mask, for the sentence.
        mask: (H, W) uint8 class indices.
        names: foreground classes in the order of their values.

    Raises:
        WsssError: it holds one.
    """
    problem = values_problem(path, np.bincount(mask.ravel(), minlength=256), names)
    if problem:
        raise WsssError(problem)


def values_problem(path: Path, counts: NDArray[np.integer], names: Sequence[str]) -> str:
    """A sentence on the values of a mask that are neither background, a class, nor void.

    Args:
        path: of the mask.
        counts: (256,) pixels of each value.
        names: foreground classes in the order of their values.

    Returns:
        Empty where there are none.
    """
    last = len(names)
    strange = [int(value) for value in np.flatnonzero(counts) if last < value < IGNORE_INDEX]
    if not strange:
        return ""
    shown = ", ".join(map(str, strange[:10])) + (", …" if len(strange) > 10 else "")
    return (
        f"The mask {path} holds the value{'s' if len(strange) > 1 else ''} {shown}; expected 0 to "
        f"{last} (0 is background, {last} is {names[-1]}) or 255 where void: write the indices of "
        "the classes, or add the classes that are missing."
    )


def size_problem(path: Path, shape: tuple[int, ...], image: Path, size: tuple[int, int]) -> str:
    """A sentence on a mask of another size than its image; empty where they are alike.

    Args:
        path: of the mask.
        shape: height and width of the mask.
        image: its image.
        size: height and width of the image.
    """
    if shape == size:
        return ""
    return (
        f"The mask {path} is {shape[1]}×{shape[0]} and its image {image} {size[1]}×{size[0]} "
        "(width × height); expected the same size: make the mask at the image's size."
    )
