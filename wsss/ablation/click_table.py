"""Figures of a simulated annotator, and their Markdown table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wsss.metrics.confusion import ConfusionMatrix

Line = dict[str, Any]
"""An image by a method: `iou`, `counts`, `ms` after 0, 1, … clicks, the last where it ended."""

SHOWN = (0, 1, 2, 3, 5, 10)
"""Numbers of clicks that the table has."""


def figures(lines: Sequence[Line], clicks: int, goal: float) -> dict[str, Any]:
    """The numbers of one method.

    Args:
        lines: of its images; one that ended early stays as it is.
        clicks: per image, at most.
        goal: IoU of an image that is good enough.

    Returns:
        `miou` of the confusion over all images, and `image_iou`, the mean over images, in per cent
        after 0 … clicks; `clicks` to the goal, mean over images; `reached`, share of the images
        that do within `clicks`; `ms`, percentiles 50 and 95 of the answers to clicks.
    """
    counted = (one for line in lines for own in line["counts"] for one in own)
    labels = 1 + max((max(true, found) for true, found, _ in counted), default=0)
    mious, means = [], []
    for k in range(clicks + 1):
        confusion = ConfusionMatrix(labels)
        for line in lines:
            for true, found, pixels in line["counts"][min(k, len(line["counts"]) - 1)]:
                confusion.matrix[true, found] += pixels
        mious.append(100 * confusion.compute().miou)
        means.append(
            100 * float(np.mean([one["iou"][min(k, len(one["iou"]) - 1)] for one in lines]))
        )
    needed = [first_at(line["iou"], goal) for line in lines]
    ms = [value for line in lines for value in line["ms"][1:]]
    return {
        "miou": mious,
        "image_iou": means,
        "clicks": float(np.mean([clicks if n is None else n for n in needed])),
        "reached": float(np.mean([n is not None for n in needed])),
        "ms": np.percentile(ms, (50, 95)).tolist() if ms else [],
    }


def first_at(ious: Sequence[float], goal: float) -> int | None:
    """The fewest clicks after which the IoU is `goal`; None if it never is."""
    return next((k for k, iou in enumerate(ious) if iou >= goal), None)


def markdown(table: Sequence[Mapping[str, Any]], protocol: Mapping[str, Any], goal: float) -> str:
    """The table, with what a reader has to know above it.

    Args:
        table: of `figures`, each with its `method`.
        protocol: name → value.
        goal: that `clicks` are counted to.
    """
    last = len(table[0]["miou"]) - 1
    shown = [k for k in SHOWN if k <= last]
    heads = ["mIoU after", *map(str, shown), f"clicks to {goal:.0%}", "reached", "ms"]
    lines = [f"- {name}: {value}" for name, value in protocol.items()]
    lines += ["", f"| {' | '.join(heads)} |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in table:
        cells = [row["method"], *(f"{row['miou'][k]:.1f}" for k in shown)]
        ms = " / ".join(f"{value:.0f}" for value in row["ms"]) or "–"
        cells += [f"{row['clicks']:.1f}", f"{row['reached']:.0%}", ms]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
