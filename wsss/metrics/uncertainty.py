"""How uncertain a mask is, from what made it: no true mask is asked. Pure.

Every part is a number in 0…1, larger where the mask is more likely wrong.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor

PARTS: dict[str, tuple[float, str]] = {
    "unsure": (3, "1 − the mean over pixels of the likeliest label's probability"),
    "before": (1, "1 − IoU with what it was made from: the plain CAM, or the former round's mask"),
    "refined": (1, "1 − IoU of the masks before and after the CRF"),
    "missing": (4, "share of the tags without a region"),
    "doubted": (2, "1 − the classifier's probability of the least likely class"),
}
"""Parts of an uncertainty in the order of their columns: weight in the score, and meaning."""

LEAST_AREA = 0.001
"""Share of the image from which on a class counts as found."""


def unsure(probs: Tensor) -> Tensor:
    """1 − the mean of the largest probability; (L + 1, H, W), each pixel summing to 1 → scalar."""
    return 1 - probs.amax(dim=0).mean()


def overlaps(first: Tensor, second: Tensor, labels: int) -> Tensor:
    """Pixels that two label maps share, and that either has, of each label.

    Args:
        first: (H, W) integers; what is not in 0…`labels` is no label.
        second: the same.
        labels: largest label.

    Returns:
        (2, `labels` + 1) counts.
    """
    others = labels + 1
    rows, columns = (one.flatten().long().clamp_max(others) for one in (first, second))
    size = others + 1
    joint = _counts(rows * size + columns, size**2).view(size, size)
    both = joint.diagonal()
    either = joint.sum(dim=0) + joint.sum(dim=1) - both
    return torch.stack([both, either])[:, :others]


def disagreement(counts: Tensor) -> float:
    """1 − the mean IoU of two label maps over the labels that either has; nan if there are none.

    Args:
        counts: (2, labels) of `overlaps`, on the CPU.
    """
    both, either = counts
    return float(1 - (both / either.clamp_min(1))[either > 0].mean())


def areas(found: Tensor, labels: int) -> Tensor:
    """Share of the image that each label has; (H, W) in 0…`labels` → (`labels` + 1,)."""
    return _counts(found.flatten().long(), labels + 1) / found.numel()


def _counts(values: Tensor, size: int) -> Tensor:
    """How often each of 0…size − 1 is there; `torch.bincount` would wait for a device."""
    ones = torch.ones((), dtype=torch.long, device=values.device).expand_as(values)
    return torch.zeros(size, dtype=torch.long, device=values.device).scatter_add_(0, values, ones)


def missing(shares: Sequence[float], expected: Sequence[float]) -> float:
    """The share of what is expected that isn't found.

    Args:
        shares: of the image, one a class.
        expected: how sure it is that the class is there, 0…1; 1 for a tag that was given.

    Returns:
        In 0…1; 0 where nothing is expected.
    """
    lost = sum(sure for share, sure in zip(shares, expected, strict=True) if share < LEAST_AREA)
    return lost / sum(expected) if sum(expected) > 0 else 0.0


def combine(parts: Mapping[str, Sequence[float | None]]) -> NDArray[np.float64]:
    """The score of each mask: the mean of its parts' ranks among all masks, weighted by `PARTS`.

    Args:
        parts: name → a value of each mask; None where a mask lacks the part.

    Returns:
        (n,) in 0…1.
    """
    table, weights = [], []
    for name, values in parts.items():
        known = np.array([np.nan if value is None else value for value in values], np.float64)
        scale = max(int(np.isfinite(known).sum()) - 1, 1)
        table.append((rankdata(known, nan_policy="omit") - 1) / scale)
        weights.append(PARTS[name][0] * np.isfinite(known))
    total = np.sum(weights, axis=0)
    return np.nansum(np.array(weights) * table, axis=0) / np.maximum(total, 1)
