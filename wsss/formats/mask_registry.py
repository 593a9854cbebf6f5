"""The formats that masks come in and go out, by name. What learns from tags can't import this."""

from collections.abc import Callable
from pathlib import Path

from wsss.data.find_images import find_files
from wsss.errors import WsssError
from wsss.formats import (
    coco,
    coco_masks,
    cvat,
    cvat_masks,
    label_studio_masks,
    labelme,
    overlays,
    parquet,
    png_masks,
    yolo,
    yolo_masks,
)
from wsss.formats.mask_list import MaskList, Writer

Reader = Callable[[Path], MaskList]

_TITLES = (
    "COCO JSON, Label Studio JSON, CVAT for images 1.1, YOLO polygons with data.yaml, "
    "LabelMe JSON, Parquet of datasets, PNGs of class indices"
)
_OF_SUFFIX: dict[str, Reader] = {
    ".xml": cvat_masks.read_masks,
    ".yaml": yolo_masks.read_masks,
    ".yml": yolo_masks.read_masks,
    parquet.SUFFIX: parquet.read_masks,
}
_OF_FOLDER_WITH: dict[str, Reader] = {
    cvat.FILE: cvat_masks.read_masks,
    coco_masks.FILE: coco_masks.read_masks,
    coco.ROBOFLOW: coco_masks.read_masks,
    label_studio_masks.FILE: label_studio_masks.read_masks,
}

WRITERS: dict[str, Writer] = {
    "coco": coco_masks.write_masks,
    "yolo-seg": yolo_masks.write_masks,
    "voc": png_masks.write_voc,
    "cvat": cvat_masks.write_masks,
    "label-studio": label_studio_masks.write_masks,
    "labelme": labelme.write_masks,
    "png": png_masks.write_masks,
    "hf": parquet.write_masks,
    "overlay": overlays.write_masks,
}
"""By the name that `--to` takes."""


def read_masks(path: Path) -> MaskList:
    """Reads the masks of a file or folder in any of the formats.

    Raises:
        WsssError: it isn't there, is none of them, or has a fault.
    """
    if not path.exists():
        raise WsssError(
            f"The masks {path} do not exist; expected a file or folder: check the path."
        )
    reader = _of_folder(path) if path.is_dir() else _of_file(path)
    if reader is None:
        raise WsssError(
            f"{path} holds masks in no known format; expected one of {_TITLES}: name the file or "
            "folder of masks itself."
        )
    return reader(path)


def _of_file(path: Path) -> Reader | None:
    suffix = path.suffix.lower()
    if suffix == ".json":
        a_list = _text(path).lstrip("\ufeff \t\r\n").startswith("[")
        return label_studio_masks.read_masks if a_list else coco_masks.read_masks
    return _OF_SUFFIX.get(suffix)


def _of_folder(path: Path) -> Reader | None:
    for name, reader in _OF_FOLDER_WITH.items():
        if (path / name).is_file():
            return reader
    if parquet.recognises(path):
        return parquet.read_masks
    if yolo.recognises(path, ""):
        return yolo_masks.read_masks
    json = next(find_files(path, (".json",)), None)
    if next(find_files(path, (".png",)), None) is None:
        return None if json is None else labelme.read_masks
    # a folder of LabelMe may hold the images, too
    shapes = json is not None and '"shapes"' in _text(path / json)
    return labelme.read_masks if shapes else png_masks.read_masks


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError as error:
        raise WsssError(
            f"The masks {path} cannot be read ({error.strerror}); expected a file of masks."
        ) from None
