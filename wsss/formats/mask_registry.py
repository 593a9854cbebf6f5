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

READERS: dict[str, Callable[[Path], MaskList]] = {
    "COCO JSON": coco_masks.read_masks,
    "Label Studio JSON": label_studio_masks.read_masks,
    "CVAT for images 1.1": cvat_masks.read_masks,
    "YOLO polygons with data.yaml": yolo_masks.read_masks,
    "LabelMe JSON": labelme.read_masks,
    "Parquet of datasets": parquet.read_masks,
    "PNGs of class indices": png_masks.read_masks,
}
"""By what people call them."""


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
    return READERS[_recognise(path)](path)


def _recognise(path: Path) -> str:
    if path.is_dir():
        return _of_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".xml":
        return "CVAT for images 1.1"
    if suffix in (".yaml", ".yml"):
        return "YOLO polygons with data.yaml"
    if suffix == parquet.SUFFIX:
        return "Parquet of datasets"
    if suffix == ".json":
        return "Label Studio JSON" if _first(path) == "[" else "COCO JSON"
    raise _unknown(path)


def _of_folder(path: Path) -> str:
    for name, kind in (
        (cvat.FILE, "CVAT for images 1.1"),
        (coco_masks.FILE, "COCO JSON"),
        (coco.ROBOFLOW, "COCO JSON"),
        (label_studio_masks.FILE, "Label Studio JSON"),
    ):
        if (path / name).is_file():
            return kind
    if parquet.recognises(path):
        return "Parquet of datasets"
    if yolo.recognises(path, ""):
        return "YOLO polygons with data.yaml"
    if next(find_files(path, (".png",)), None) is not None:
        pngs = "PNGs of class indices"
        json = next(find_files(path, (".json",)), None)
        # a folder of LabelMe may hold the images, too
        return "LabelMe JSON" if json is not None and '"shapes"' in _text(path / json) else pngs
    if next(find_files(path, (".json",)), None) is not None:
        return "LabelMe JSON"
    raise _unknown(path)


def _first(path: Path) -> str:
    return _text(path).lstrip("\ufeff \t\r\n")[:1]


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError as error:
        raise WsssError(
            f"The masks {path} cannot be read ({error.strerror}); expected a file of masks."
        ) from None


def _unknown(path: Path) -> WsssError:
    return WsssError(
        f"{path} holds masks in no known format; expected one of {', '.join(READERS)}: name the "
        "file or folder of masks itself."
    )
