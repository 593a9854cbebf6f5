"""PASCAL VOC's conventions: class names, palette, split lists, indexed PNG masks.

Every stage that writes or reads a mask does it here, so that a mask is the same thing everywhere:
8-bit indexed PNG (mode P), value = class index with background 0, 255 = void or not confident.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from wsss.errors import WsssError

CLASS_NAMES: tuple[str, ...] = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
NUM_CLASSES = len(CLASS_NAMES)
IGNORE_INDEX = 255
CLASS_NAMES_FILE = "class_names.txt"
MAX_FOREGROUND = IGNORE_INDEX - 1  # 0 is background, 255 is void
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
            f"The mask {path} has mode {mode}; expected class indices, 8 bits a pixel (mode P or "
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


def split_list_path(root: Path, split: str) -> Path:
    """Where the ids of a split are listed, one a line."""
    return root / "ImageSets" / "Segmentation" / f"{split}.txt"


def read_split_list(path: Path) -> tuple[str, ...]:
    """Ids of a list as they stand there, duplicates included; blank lines are skipped.

    Lists of pairs (`/JPEGImages/x.jpg /SegmentationClassAug/x.png`), as often handed around for
    train_aug, are read too: the id is the first field's stem.
    """
    fields = (line.split() for line in path.read_text("utf-8-sig", "replace").splitlines())
    return tuple(Path(f[0]).stem if f[0].startswith("/") else f[0] for f in fields if f)


def split_ids(root: Path, split: str) -> tuple[str, ...]:
    """Ids of the pictures of a split, from `ImageSets/Segmentation/<split>.txt`, in its order.

    Raises:
        WsssError: no such list, an empty one, or an id listed twice.
    """
    path = split_list_path(root, split)
    if not root.is_dir():
        raise WsssError(
            f"The data root {root} does not exist; expected a folder in VOC layout (JPEGImages, "
            "Annotations, ImageSets): set data.root."
        )
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.txt"))) or "none"
        raise WsssError(
            f"There is no split list {path}; the lists found there are: {there}; name one of them."
        )
    ids = read_split_list(path)
    if not ids:
        raise WsssError(f"The split list {path} is empty; expected one picture id a line.")
    if len(set(ids)) != len(ids):
        twice = next(i for n, i in enumerate(ids) if i in ids[:n])
        raise WsssError(
            f"The split list {path} names {twice} more than once; expected every id once: remove "
            f"the {len(ids) - len(set(ids))} repeated lines."
        )
    return ids


def read_class_names(root: Path) -> tuple[str, ...]:
    """Foreground class names of a data set in VOC layout, in the order of mask values 1, 2, ….

    They come from `<root>/class_names.txt`, one a line without background, or as `class_lines` has
    them; or are VOC's 20 where there is no such file.

    Raises:
        WsssError: the file is empty, repeats a name, names the background, holds over 254, or
            counts them wrongly.
    """
    path = root / CLASS_NAMES_FILE
    if not path.is_file():
        return CLASS_NAMES[1:]
    text = path.read_text(encoding="utf-8-sig")
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if names[:1] == class_lines(()):
        counted, names = names, [name.partition(" ")[2].strip() for name in names[1:]]
        strange = [line for line in counted if line not in class_lines(names)]
        if strange:
            raise WsssError(
                f"{path} has the line {strange[0]!r} out of turn; expected `value name` with the "
                "values 0, 1, 2 and so on: number the classes anew, or leave all numbers out."
            )
    return check_class_names(names, str(path))


def class_lines(names: Sequence[str]) -> list[str]:
    """`0 background`, `1 <first name>` and so on: a mask's values and what they mean."""
    return [f"{value} {name}" for value, name in enumerate((CLASS_NAMES[0], *names))]


def check_class_names(names: Sequence[str], where: str) -> tuple[str, ...]:
    """`names` as a tuple, if they can be foreground classes of an 8-bit mask.

    Raises:
        WsssError: none, more than 254, one twice (capitals aside), or one called background.
    """
    if not 1 <= len(names) <= MAX_FOREGROUND:
        raise WsssError(
            f"{where} gives {len(names)} classes; expected 1 to {MAX_FOREGROUND}, the values that "
            "an 8-bit mask has beside background and void: give at least one, or merge classes."
        )
    seen: dict[str, str] = {}
    for name in names:
        # 'Cat' and 'cat' would silently become two classes
        if name.casefold() in seen:
            raise WsssError(
                f"{where} names the class {seen[name.casefold()]!r} and again {name!r}; expected "
                "every class once and in one spelling."
            )
        seen[name.casefold()] = name
    if CLASS_NAMES[0] in seen:
        raise WsssError(
            f"{where} names a class {seen[CLASS_NAMES[0]]!r}; expected foreground classes alone, "
            "because background is what no tag names: remove or rename it."
        )
    return tuple(names)


_VOC_PALETTE = palette()
