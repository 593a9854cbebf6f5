"""How a mask fails, in kinds, and how badly: to look at the worst images of each. Pure."""

from collections.abc import Collection, Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from wsss.labels import IGNORE_INDEX

KINDS: dict[str, str] = {
    "leak": "most of a class is found, with much background around it",
    "part": "what is found is right, and most of the class is missing",
    "mixed": "a class is taken for another one in the image",
    "small": "a class of less than 2 % of the image",
    "crowd": "four or more pieces of one class",
}
SMALL = 0.02
CROWD = 4
PIECE = 0.001
"""Least share of the image that counts as a piece."""
Mask = NDArray[np.uint8]


def failures(pred: Mask, target: Mask, labels: Iterable[int]) -> dict[str, float]:
    """Kind of failure → how badly an image fails so, its worst class.

    Args:
        pred: (H, W) labels; 255 counts as background.
        target: (H, W) labels; 255 is left out, and parts objects that touch.
        labels: those that the image is tagged with.

    Returns:
        Kinds of `KINDS` that occur, each in (0, 1]: of `leak` the share of the prediction that is
        background, of `part` the share of the class that is missing, of `mixed` the share that
        another class took, of `small` and `crowd` 1 − IoU.
    """
    counts = {label: _pieces(target == label) for label in labels}
    known = target != IGNORE_INDEX
    pred, target = pred[known], target[known]
    worst: dict[str, float] = {}
    for label, count in counts.items():
        for kind, badness in _of_class(pred, target, label, count).items():
            if badness > worst.get(kind, 0.0):
                worst[kind] = badness
    return worst


def against_tags(
    pred: Mask, tags: Collection[int], names: Sequence[str], least: float = 0.005
) -> str:
    """Where a mask and the tags of its image disagree, in words; empty where nowhere.

    Args:
        pred: (H, W) labels.
        tags: 0-based indices of the classes that the image is tagged with.
        names: of the classes.
        least: share of the image from which on a class counts as found.
    """
    shares = np.bincount(pred.ravel(), minlength=len(names) + 1)[1 : len(names) + 1] / pred.size
    false = [
        f"{name} ({100 * share:.0f} % of the image)"
        for i, (name, share) in enumerate(zip(names, shares, strict=True))
        if share >= least and i not in tags
    ]
    missed = [names[i] for i in tags if not shares[i]]
    said = (("false alarm: ", false), ("not found: ", missed))
    return "; ".join(what + ", ".join(which) for what, which in said if which)


def _pieces(mask: NDArray[np.bool_]) -> int:
    """How many pieces of a mask (H, W) are as large as an object may be small."""
    stats = cv2.connectedComponentsWithStats(mask.astype(np.uint8))[2]
    return int((stats[1:, cv2.CC_STAT_AREA] >= PIECE * mask.size).sum())


def _of_class(pred: Mask, target: Mask, label: int, count: int) -> dict[str, float]:
    true, found = target == label, pred == label
    if not true.any():
        return {}
    both = int((true & found).sum())
    recall, precision = both / true.sum(), both / max(int(found.sum()), 1)
    missed = 1 - both / int((true | found).sum())
    another = true & ~found & (pred != 0) & (pred != IGNORE_INDEX)
    kinds = {"mixed": float(another.sum() / true.sum())}
    if recall >= 0.5:
        kinds["leak"] = float((found & (target == 0)).sum() / found.sum())
    elif precision >= 0.7:
        kinds["part"] = float(1 - recall)
    if true.mean() < SMALL:
        kinds["small"] = missed
    if count >= CROWD:
        kinds["crowd"] = missed
    return kinds
