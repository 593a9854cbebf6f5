"""Folders of PNGs with a class index per pixel: plain ones, and VOC's `SegmentationClass`."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss.data.find_images import find_files, without_suffix
from wsss.data.image_header import open_image
from wsss.data.mask_io import VOC_FOLDERS, encode_mask, palette, read_mask
from wsss.errors import WsssError
from wsss.formats.instances import Size
from wsss.formats.mask_list import MaskList, MaskToWrite, Writing
from wsss.formats.target import Target
from wsss.formats.text import clean, excerpt, read_text
from wsss.formats.voc import read_class_names
from wsss.labels import BACKGROUND, CLASS_NAMES_FILE, IGNORE_INDEX, class_lines

_COLOURS = "labelmap.txt"  # as CVAT writes it beside masks in colours


def read_masks(path: Path) -> MaskList:
    """The PNGs below a folder, or of its `SegmentationClass`.

    Their values mean what `class_names.txt` says, or else the run's own classes. Masks in colours,
    as CVAT exports them, mean what `labelmap.txt` says.
    """
    folder = next((path / name for name in VOC_FOLDERS if (path / name).is_dir()), path)
    files = {without_suffix(name): folder / name for name in sorted(find_files(folder, (".png",)))}
    if not files:
        raise WsssError(f"{folder} holds no PNG; expected <image>.png with class indices there.")
    coloured = next((f for f in (path / _COLOURS, folder / _COLOURS) if f.is_file()), None)
    if coloured is not None and _mode(next(iter(files.values()))) not in ("P", "L", "1"):
        return _of_colours(path, files, coloured)
    classes = class_names_of(folder) or class_names_of(path)

    def read(name: str, size: Size) -> NDArray[np.uint8]:
        return read_mask(files[name])

    return MaskList(path, tuple(files), read, classes, files=files)


def class_names_of(folder: Path) -> tuple[str, ...] | None:
    """Foreground classes by `class_names.txt` of a folder of masks; None where it has none.

    Raises:
        WsssError: as `read_class_names`.
    """
    return read_class_names(folder) if (folder / CLASS_NAMES_FILE).is_file() else None


def _mode(path: Path) -> str:
    with open_image(path, "mask") as file:
        return file.mode


def _of_colours(path: Path, files: dict[str, Path], colours: Path) -> MaskList:
    known: dict[tuple[int, ...], str] = {}
    for number, line in enumerate(read_text(colours, "The colours").splitlines(), 1):
        name, _, rest = clean(line).partition(":")
        if not name or name.startswith("#"):
            continue
        try:
            known[tuple(int(part) for part in rest.partition(":")[0].split(","))] = name
        except ValueError:
            raise WsssError(
                f"Line {number} of {colours} is {excerpt(line)}; expected `name:red,green,blue::`: "
                "correct it."
            ) from None
    classes = tuple(n for n in known.values() if n.casefold() not in (BACKGROUND, "ignored"))
    table = {
        (c[0] << 16) | (c[1] << 8) | c[2]: classes.index(n) + 1 if n in classes else 0
        for c, n in known.items()
        if len(c) == 3
    }
    void = next((c for c, n in known.items() if n.casefold() == "ignored" and len(c) == 3), None)
    if void is not None:
        table[(void[0] << 16) | (void[1] << 8) | void[2]] = IGNORE_INDEX

    def read(name: str, size: Size) -> NDArray[np.uint8]:
        with open_image(files[name], "mask") as file:
            rgb = np.asarray(file.convert("RGB"), np.int64)
        codes = (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]
        mask = np.zeros(codes.shape, np.uint8)
        for code in np.unique(codes).tolist():
            if code not in table:
                colour = f"{code >> 16},{code >> 8 & 255},{code & 255}"
                raise WsssError(
                    f"The mask {files[name]} has the colour {colour}, which {colours} does not "
                    "list; expected its colours alone: export the masks again."
                )
            mask[codes == code] = table[code]
        return mask

    return MaskList(path, tuple(files), read, classes)


def write_masks(masks: Iterable[MaskToWrite], how: Writing, to: Target) -> None:
    """Writes `<id>.png` and `class_names.txt`."""
    for one in masks:
        to.put(f"{one.id}.png", encode_mask(kept_pixels(one.mask, how)))
    to.put(CLASS_NAMES_FILE, "\n".join(class_lines(how.classes)) + "\n")


def write_voc(masks: Iterable[MaskToWrite], how: Writing, to: Target) -> None:
    """Writes VOC's folders: `SegmentationClass`, `ImageSets/Segmentation`, and the names.

    `labelmap.txt` names the colours, as CVAT's import of segmentation masks asks.
    """
    ids = []
    for one in masks:
        to.put(f"SegmentationClass/{one.id}.png", encode_mask(kept_pixels(one.mask, how)))
        ids.append(one.id)
    to.put("ImageSets/Segmentation/train.txt", "".join(f"{id_}\n" for id_ in ids))
    to.put(CLASS_NAMES_FILE, "".join(f"{name}\n" for name in how.classes))
    colours = palette()
    lines = [
        f"{name}:{','.join(map(str, colours[value].tolist()))}::"
        for value, name in enumerate((BACKGROUND, *how.classes))
    ]
    to.put(_COLOURS, "# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n")


def kept_pixels(mask: NDArray[np.uint8], how: Writing) -> NDArray[np.uint8]:
    """Without components that are too small."""
    if not how.min_area:
        return mask
    kept = np.where(mask == IGNORE_INDEX, mask, 0).astype(np.uint8)
    for instance in how.instances(mask):
        kept[instance.whole()] = instance.value
    return kept
