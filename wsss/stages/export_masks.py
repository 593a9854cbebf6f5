"""`wsss export-masks`: the masks of a run or a folder in the format of another program.

Reads `pseudo_masks/<id>.png` of a run, or accepted masks in `trusted/<id>.png` before those; or any
folder of masks with `class_names.txt`. Files that are there already stay.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from wsss.data.find_images import find_images, one_of_each_name, without_suffix
from wsss.data.mask_io import read_mask
from wsss.data.masks import read_target
from wsss.data.open import open_tagged
from wsss.data.scores import read_scores
from wsss.engine.progress import track
from wsss.errors import WsssError
from wsss.formats.mask_list import MaskToWrite, Writing
from wsss.formats.mask_registry import WRITERS
from wsss.formats.png_masks import class_names_of
from wsss.formats.target import Target
from wsss.labels import IGNORE_INDEX, SCORES_FILE
from wsss.run.layout import Layout
from wsss.run.state import open_run


def run(
    source: Path,
    to: str,
    out: Path | None = None,
    images: Path | None = None,
    semantic: bool = False,
    polygons: bool = False,
    min_area: int = 0,
    confidence: float = 0.0,
    overwrite: bool = False,
) -> Path:
    """Write masks in a format; returns the folder.

    Args:
        source: folder of a run, or of masks.
        to: name of the format.
        out: folder to write; beside the masks by default.
        images: folder of the images; known for a run.
        semantic: one annotation a class and image, instead of one a connected component.
        polygons: in formats that can do either, instead of exact masks.
        min_area: components of fewer pixels are left out.
        confidence: masks whose mean probability of the likeliest label is lower are left out.
        overwrite: replace files that were not written by this command.

    Raises:
        WsssError: no such format, no masks, or a foreign file in the place of one.
    """
    if to not in WRITERS:
        raise WsssError(f"--to is {to!r}: expected one of {', '.join(WRITERS)}.")
    layout = Layout(source)
    a_run = layout.config_file.is_file()
    folder = layout.pseudo_masks if a_run else source
    if a_run:
        classes, found = _of_run(source, layout)
    else:
        classes, found = _of_folder(source, images)
    found = _confident(found, folder, confidence)
    if not found:
        raise WsssError(
            f"There is no mask to export in {folder}; expected <image>.png there: run "
            "generate-pseudo-masks or predict first, or lower --confidence."
        )
    default = layout.export / f"masks_{to}" if a_run else source.with_name(f"{source.name}_{to}")
    target = Target(out or default, overwrite)
    how = Writing(classes, semantic, min_area, polygons)
    WRITERS[to](_read(track(found, "export-masks", len(found))), how, target)
    target.finish()
    return target.folder


Found = tuple[str, int, str, Path | None, Path]
"""Id, number, file name, image and mask."""


def _of_run(root: Path, layout: Layout) -> tuple[tuple[str, ...], list[Found]]:
    config = open_run(root)
    data = config.data
    tagged = open_tagged(data, data.mask_split)
    found: list[Found] = []
    for number, sample in enumerate(tagged.samples, 1):
        trusted, made = layout.trusted(sample.id), layout.pseudo_mask(sample.id)
        mask = trusted if trusted.is_file() else made
        if mask.is_file():
            name = sample.id + sample.path.suffix
            found.append((sample.id, number, name, sample.path, mask))
    return tagged.class_names, found


def _of_folder(folder: Path, images: Path | None) -> tuple[tuple[str, ...], list[Found]]:
    classes = class_names_of(folder)
    if classes is None:
        raise WsssError(
            f"{folder} is neither a run nor a folder of masks with class_names.txt; expected one "
            "of them: name it, or add class_names.txt with the lines `0 background`, `1 cat`, …."
        )
    names = {} if images is None else _names_of(images)
    found: list[Found] = []
    masks = (name for name in find_images(folder).paths if name.lower().endswith(".png"))
    for number, mask in enumerate(masks, 1):
        id_ = without_suffix(mask)
        if images is not None and id_ not in names:
            raise WsssError(
                f"{images} has no image {id_} for the mask {folder / mask}; expected one of every "
                "mask: name the folder that the masks were made of."
            )
        image = None if images is None else images / names[id_]
        found.append((id_, number, names.get(id_, f"{id_}.jpg"), image, folder / mask))
    return classes, found


def _names_of(images: Path) -> dict[str, str]:
    """Id → file name of the images in a folder, which may hold their masks, too."""
    names: dict[str, str] = {}
    for name in one_of_each_name(images, find_images(images).paths)[0]:
        other = names.setdefault(without_suffix(name), name)
        if other != name:
            raise WsssError(
                f"{images} holds {other} and {name}, either of which may be the image of a mask; "
                "expected one image of a name: rename one of them."
            )
    return names


def _confident(found: Sequence[Found], folder: Path, confidence: float) -> list[Found]:
    if not confidence:
        return list(found)
    table = folder / SCORES_FILE
    if not table.is_file():
        raise WsssError(
            f"--confidence needs {table}, which isn't there: run generate-pseudo-masks, which "
            "writes it, or leave --confidence out."
        )
    unsure = read_scores(folder, "unsure")
    # a mask that isn't listed, or lies elsewhere, is a person's, who is sure
    return [
        one
        for one in found
        if not one[4].is_relative_to(folder) or 1 - unsure.get(one[0], 0.0) >= confidence
    ]


def _read(found: Iterable[Found]) -> Iterator[MaskToWrite]:
    rejected = 0
    for id_, number, name, image, path in found:
        mask = read_mask(path) if image is None else read_target(image, path)
        if (mask == IGNORE_INDEX).all():
            rejected += 1
        else:
            yield MaskToWrite(id_, number, name, image, mask)
    if rejected:
        print(f"{rejected} masks are 255 all over, and left out", file=sys.stderr)
