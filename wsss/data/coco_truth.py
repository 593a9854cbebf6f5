"""True masks of a data set in COCO's layout, made of its instances once and kept beside them.

COCO publishes instances, no semantic masks; two rules of making one of the other are in use, and
scores differ by them. Only what scores opens true masks, so only that comes here.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsss.config.schema import TruthRule
from wsss.data.mask_io import VOC_FOLDERS, Track, write_class_names, write_mask
from wsss.errors import WsssError
from wsss.formats.coco import CocoAnnotation, Id, instance_mask, stream_coco
from wsss.formats.coco_layout import annotations_file, read_split
from wsss.run.fingerprint import content_digest

FOLDER = "true_masks"

MASKS = VOC_FOLDERS[1]
"""Folder of the masks, as VOC calls it."""


def semantic_mask(
    annotations: Sequence[CocoAnnotation],
    values: dict[Id, int],
    size: tuple[int, int],
    rule: TruthRule,
) -> NDArray[np.uint8]:
    """The semantic mask of an image's instances; nothing in it is void.

    Args:
        annotations: of the image, in the order of the file.
        values: category id → mask value.
        size: H, W.
        rule: `coco2voc`: crowds too, the smaller area on top, of equal ones the first (alicranck's
            coco2voc, whose masks ToCo and most after it are scored on); `recam`: without crowds,
            the later annotation on top (ReCAM, Chen et al., CVPR 2022).

    Returns:
        (H, W) uint8, 0 where no instance is.
    """
    kept = [one for one in annotations if rule == "coco2voc" or not one.crowd]
    painted = [(one, instance_mask(one, size)) for one in kept]
    if rule == "coco2voc":
        painted.sort(key=lambda pair: pair[0].area or float(pair[1].sum()))
        painted.reverse()
    mask = np.zeros(size, np.uint8)
    for one, pixels in painted:
        mask[pixels] = values[one.category]
    return mask


def make_masks(root: Path, split: str, rule: TruthRule, ids: Iterable[str], track: Track) -> Path:
    """Makes the true masks of images of a split that aren't made yet.

    The annotations of those images are in memory while it works: 2 GB for train2014.

    Args:
        root: of the data set.
        split: of it.
        rule: as `semantic_mask` takes it.
        ids: of the images; other ids are of no matter.
        track: shows the progress.

    Returns:
        The folder with `SegmentationClass/<id>.png`.

    Raises:
        WsssError: the annotations are damaged, or the folder can't be written.
    """
    folder = truth_folder(root, split, rule)
    masks = {id_: folder / MASKS / f"{id_}.png" for id_ in ids}
    missing = {id_ for id_, path in masks.items() if not path.is_file()}
    if not missing:
        return folder
    found = read_split(root, split)
    try:
        write_class_names(folder / MASKS, found.class_names)
    except WsssError as error:
        raise WsssError(
            f"True masks are kept beside the images, and {folder} can't be written; expected a "
            f"writable data.root: link {root / 'annotations'} and the images into a folder of your "
            "own, and give that."
        ) from error
    wanted = {key: found.name(key) for key in found.images if found.name(key) in missing}
    by_image: defaultdict[Id, list[CocoAnnotation]] = defaultdict(list)
    path = annotations_file(root, split)
    for entry in stream_coco(path):
        if isinstance(entry, CocoAnnotation) and entry.image in wanted:
            by_image[entry.image].append(entry)
    if not any(one.segmentation for listed in by_image.values() for one in listed):
        raise WsssError(
            f"{path} has boxes alone, no segmentation; expected polygons or RLE to make true masks "
            "of: take the file of instances with segmentations."
        )
    for key in track(list(by_image), f"true masks of {split}", len(by_image)):
        size = found.images[key].size
        if size is None:
            raise WsssError(
                f"The image {found.images[key].name} of {path} has no height and width; expected "
                "both: take the file as it was published."
            )
        write_mask(masks[wanted[key]], semantic_mask(by_image.pop(key), found.values, size, rule))
    return folder


def truth_folder(root: Path, split: str, rule: TruthRule) -> Path:
    """Where the true masks of a split lie: a folder by the digest of what they are made of."""
    path = annotations_file(root, split)
    return root / FOLDER / f"{split}.{rule}.{_digest(path, path.stat().st_mtime_ns)}"


@cache
def _digest(path: Path, _time: int) -> str:
    return content_digest([path])


def about_masks(folder: Path) -> dict[str, str]:
    """The rule and the digest of a folder of `make_masks`; empty for any other folder."""
    if folder.parent.name != FOLDER:
        return {}
    _, rule, digest = folder.name.rsplit(".", 2)
    return {"truth_rule": rule, "truth_digest": digest}
