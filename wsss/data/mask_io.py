"""Masks on disk: 8-bit indexed PNGs with VOC's palette.

Every stage that writes or reads a mask does it here, so that a mask is the same thing
everywhere: mode P, value = class index with background 0, 255 = void or not confident.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wsss.errors import WsssError
from wsss.files import write_text
from wsss.labels import CLASS_NAMES_FILE, class_lines

_ORIGIN = "wsss-origin"  # keyword of a mask's note in its PNG


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
    """Reads an indexed (mode P) or grey (mode L) 8-bit mask.

    Returns:
        (H, W) uint8, class indices, 255 where void.

    Raises:
        WsssError: the file is missing, does not decode, or holds colours instead of indices.
    """
    try:
        with Image.open(path) as file:
            mode = file.mode
            mask = np.array(file) if mode in ("P", "L") else None
    except FileNotFoundError:
        raise WsssError(f"The mask {path} does not exist; check the data set's folder.") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise WsssError(
            f"The mask {path} does not decode ({error}); expected an 8-bit PNG: write it again."
        ) from error
    if mask is None:
        raise WsssError(
            f"The mask {path} has mode {mode}; expected class indices, 8 bits per pixel (mode P or "
            "L): convert colours to indices first."
        )
    return mask


def read_origin(path: Path) -> str | None:
    """What a mask was made of, as `write_mask` noted it; None where there is no mask or no note."""
    try:
        with Image.open(path) as file:
            origin = file.info.get(_ORIGIN)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return origin if isinstance(origin, str) else None


def write_mask(
    path: Path,
    mask: NDArray[np.integer],
    palette: NDArray[np.uint8] | None = None,
    origin: str | None = None,
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

    Raises:
        ValueError: `mask` is not (H, W) integers in 0..255.
        WsssError: the disk is full, read-only or not writable.
    """
    image = Image.fromarray(_as_bytes(mask))
    image.putpalette((_VOC_PALETTE if palette is None else palette).astype(np.uint8).tobytes())
    notes = PngInfo()
    if origin is not None:
        notes.add_text(_ORIGIN, origin)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(temporary, format="PNG", pnginfo=notes)
        temporary.replace(path)
    except OSError as error:
        if temporary.exists():
            temporary.unlink()
        raise WsssError(
            f"The mask {path} could not be written ({error.strerror or error}); expected a "
            "writable folder with free space: make room or choose another run folder."
        ) from error


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
