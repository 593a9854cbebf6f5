"""Whether masks hold class indices, and the classes that the tags say.

For true masks before they are scored, and for pseudo-masks that a person changed before they train.
"""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from wsss.data.image_header import read_header
from wsss.data.images import TaggedDataset
from wsss.data.mask_io import read_mask, size_problem, values_problem
from wsss.data.masks import mask_path
from wsss.errors import WsssError
from wsss.labels import IGNORE_INDEX

MOSTLY_VOID = 0.1  # share of void in a mask that borders and doubtful objects don't reach

VOID_INSTEAD = 0.05  # share of masks with void for a class, of which VOC's own have none

UNTAGGED = 0.1  # share of masks with a class that their tags lack: none in VOC's own

REORDERED = 0.25  # share of images that agree with their tags only in another order of classes


class MaskReport(NamedTuple):
    """What is wrong with masks: problems make every score wrong, warnings may be meant so."""

    problems: list[str]
    warnings: list[str]


def check_masks(
    masks: Mapping[str, Path],
    class_names: Sequence[str],
    tags: Mapping[str, Collection[int]] | None = None,
    images: Mapping[str, Path] | None = None,
) -> MaskReport:
    """Checks masks: each by itself, then all of them against the tags.

    Args:
        masks: image id → mask.
        class_names: foreground classes in the order of mask values.
        tags: image id → 0-based classes; without, the order of the classes isn't checked.
        images: image id → image, whose size the mask must have; read from the header.
    """

    def check(id_: str) -> tuple[NDArray[np.int64] | None, list[str]]:
        try:
            mask = read_mask(masks[id_])
        except WsssError as error:
            return None, [str(error)]
        counts = np.bincount(mask.ravel(), minlength=256)
        found = [values_problem(masks[id_], counts, class_names)]
        if images is not None and id_ in images:
            found.append(_size_problem(masks[id_], mask, images[id_]))
        return counts, [problem for problem in found if problem]

    with ThreadPoolExecutor() as pool:  # decoding leaves Python's lock
        checked = dict(zip(masks, pool.map(check, masks), strict=True))
    problems = [problem for _, found in checked.values() for problem in found]
    held = {id_: counts for id_, (counts, _) in checked.items() if counts is not None}
    report = check_against_tags(held, masks, class_names, tags or {})
    return MaskReport(problems + report.problems, report.warnings)


def check_true_masks(root: Path, scored: Sequence[TaggedDataset]) -> MaskReport:
    """Checks the true masks of images that will be scored.

    Args:
        root: a folder in VOC layout that has true masks.
        scored: the images of its splits, one split at least.
    """
    found = {sample.id: sample for tagged in scored for sample in tagged.samples}
    names = scored[0].class_names
    masks: dict[str, Path] = {}
    missing = []
    for id_ in found:
        try:
            masks[id_] = mask_path(root, id_)
        except WsssError as error:
            missing.append(str(error))
    tags = {id_: found[id_].tags for id_ in masks}
    report = check_masks(masks, names, tags, {id_: found[id_].path for id_ in masks})
    return MaskReport(missing + report.problems, report.warnings)


def require(report: MaskReport) -> None:
    """Raise the first problem of a report, with the number of others.

    Raises:
        WsssError: there is one.
    """
    if report.problems:
        more = len(report.problems) - 1
        also = f" ({more} more masks have problems: wsss check-data names them)" if more else ""
        raise WsssError(report.problems[0] + also)


def _size_problem(path: Path, mask: NDArray[np.uint8], image: Path) -> str:
    """Of an image that can't be read, which is no matter here, none."""
    try:
        header = read_header(image)
    except WsssError:
        return ""
    return size_problem(path, mask.shape, image, (header.height, header.width))


def check_against_tags(
    counts: Mapping[str, NDArray[np.int64]],
    masks: Mapping[str, Path],
    class_names: Sequence[str],
    tags: Mapping[str, Collection[int]],
) -> MaskReport:
    """What only all masks together show: 255 for the class, another order, masks of other images.

    Args:
        counts: image id → (256,) pixels of each value.
        masks: image id → mask, to name one.
        class_names: foreground classes in the order of mask values.
        tags: image id → 0-based classes; images that it lacks are left out.
    """
    if not counts:
        return MaskReport([], [])
    classes, ids = len(class_names), list(counts)
    all_counts = np.stack([counts[id_] for id_ in ids])
    present = all_counts > 0
    holds_class = present[:, 1 : classes + 1].any(1)
    void = all_counts[:, IGNORE_INDEX] / all_counts.sum(1).clip(1)
    tagged = np.array([bool(tags.get(id_, ())) for id_ in ids])
    instead = np.flatnonzero((void > MOSTLY_VOID) & ~holds_class & (tagged | (not tags)))
    if not present[:, 1:IGNORE_INDEX].any() and (void > 0).any():
        first = masks[ids[int(np.argmax(void > 0))]]
        return MaskReport(
            [
                f"The {len(ids)} masks hold the values 0 and 255 alone, {first} first; expected "
                f"class indices, because 255 is void and is not scored: write 1 for "
                f"{class_names[0]}{', and so on,' if classes > 1 else ''} where they have 255."
            ],
            [],
        )
    warnings = []
    if len(instead):
        void_instead = (
            f"{len(instead)} masks of tagged images hold no class and are void (255) over more "
            f"than {MOSTLY_VOID:.0%}, {masks[ids[instead[0]]]} first: if 255 was meant for a "
            "class, write its index"
        )
        if len(instead) >= max(3, VOID_INSTEAD * (tagged.sum() or len(ids))):
            return MaskReport([f"{void_instead}; if not, void is not scored: draw the class."], [])
        warnings.append(f"{void_instead}.")
    if tagged.any() and not present[tagged, 1:IGNORE_INDEX].any():
        warnings.append(
            f"None of the {tagged.sum()} masks of tagged images holds a class: they are background "
            "alone, and there is nothing to score."
        )
        return MaskReport([], warnings)
    matrix = np.zeros((len(ids), classes), bool)
    for row, id_ in zip(matrix, ids, strict=True):
        row[list(tags.get(id_, ()))] = True
    order = check_order(matrix[holds_class], present[holds_class, 1 : classes + 1], class_names)
    warnings += order.warnings
    known = np.array([id_ in tags for id_ in ids])
    untagged = present[:, 1 : classes + 1] & ~matrix & known[:, None]
    strange = np.flatnonzero(untagged.any(1))
    if not order.problems and len(strange) >= max(2, UNTAGGED * known.sum()):
        held = class_names[int(untagged[strange[0]].argmax())]
        warnings.append(
            f"{len(strange)} of {known.sum()} masks hold a class that their image isn't tagged "
            f"with, {masks[ids[strange[0]]]} first ({held}): check that each mask is of its image, "
            "and that every class in an image is tagged."
        )
    return MaskReport(order.problems, warnings)


def check_order(
    tags: NDArray[np.bool_], values: NDArray[np.bool_], class_names: Sequence[str]
) -> MaskReport:
    """Whether the classes of masks have the order of the tags.

    Args:
        tags: (n, C), whether image i has the tag of class k.
        values: (n, C), whether mask i holds the value k + 1.
        class_names: of the C classes.
    """
    both = tags.T.astype(int) @ values.astype(int)  # (C, C) images with tag k and value v
    tagged, held = tags.sum(0), values.sum(0)
    agreement = both / np.maximum(tagged[:, None] + held[None] - both, 1)  # Jaccard index
    _, best = linear_sum_assignment(-agreement)
    agree = int((tags == values).all(1).sum())
    agree_best = int((tags == values[:, best]).all(1).sum())
    if agree_best - agree >= max(2, REORDERED * len(tags)):
        named = sorted((int(v) + 1, class_names[k]) for k, v in enumerate(best) if both[k, v])
        order = ", ".join(f"{value} is {name}" for value, name in named[:6])
        return MaskReport(
            [
                f"Masks hold the classes of their tags in {agree} of {len(tags)} images, and in "
                f"{agree_best} if {order}{', …' if len(named) > 6 else ''}; expected masks and "
                "tags in one order of classes: put the class names in the masks' order."
            ],
            [],
        )
    absent = [k for k in range(len(class_names)) if tagged[k] >= 3 and not both[k, k]]
    return MaskReport(
        [],
        [
            f"The value {k + 1} ({class_names[k]}) is in none of the masks of the {tagged[k]} "
            f"images tagged {class_names[k]}: check the order of the classes."
            for k in absent[:5]
        ],
    )
