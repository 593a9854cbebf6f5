"""How a mask fails, in kinds, and how badly: to look at the worst pictures of each. Pure."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wsss.voc import IGNORE_INDEX

KINDS: dict[str, str] = {
    "leak": "most of a class is found, and much ground beside it",
    "part": "what is found is right, and most of the class is missing",
    "mixed": "a class is taken for another one in the picture",
    "small": "a class of less than 2 % of the picture",
    "crowd": "four or more objects of one class",
}
SMALL = 0.02
CROWD = 4
Mask = NDArray[np.uint8]


def failures(pred: Mask, target: Mask, objects: Mapping[int, int]) -> dict[str, float]:
    """Kind of failure → how badly a picture fails so, its worst class.

    Args:
        pred: (H, W) labels; 255 counts as background.
        target: (H, W) labels; 255 is left out.
        objects: label → objects of it in the picture.

    Returns:
        Kinds of `KINDS` that occur, each in (0, 1]: of `leak` the share of the prediction that is
        ground, of `part` the share of the class that is missing, of `mixed` the share that another
        class took, of `small` and `crowd` 1 − IoU.
    """
    known = target != IGNORE_INDEX
    pred, target = pred[known], target[known]
    worst: dict[str, float] = {}
    for label, count in objects.items():
        for kind, badness in _of_class(pred, target, label, count).items():
            if badness > worst.get(kind, 0.0):
                worst[kind] = badness
    return worst


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
