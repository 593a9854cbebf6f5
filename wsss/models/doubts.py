"""What is noted of a mask's uncertainty while it is made."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from wsss.data.scores import Doubt
from wsss.labels import IGNORE_INDEX
from wsss.metrics.uncertainty import areas, disagreement, missing, unsure

_SIGNS = ("unsure", "before", "refined")


def signs_of(
    first: Tensor,
    probs: Tensor,
    mask: Tensor,
    labels: Sequence[int],
    before: Tensor,
    likely: Tensor,
) -> Tensor:
    """All that `doubt_of` needs, as one tensor, because each copy waits for a device.

    Args:
        first: (L + 1, H, W), the probabilities before the CRF.
        probs: (L + 1, H, W), those after it.
        mask: (H, W), the labels they became, 255 where not confident.
        labels: L mask values of the image's tags.
        before: scalar, how far the mask's source differs from its own source; nan where unknown.
        likely: (L,) the classifier's probabilities of the tags; empty where it wasn't asked.

    Returns:
        (3 + L,), or (3 + 2L,) with the classifier's probabilities.
    """
    refined = disagreement(first.argmax(dim=0), probs.argmax(dim=0), len(labels))
    parts = torch.stack([unsure(probs), before, refined])
    return torch.cat([parts, areas(mask, IGNORE_INDEX)[list(labels)], likely])


def doubt_of(labels: Sequence[int], signs: Sequence[float]) -> Doubt:
    """What is noted of a mask: from its image's tags as mask values, and what `signs_of` says."""
    known = zip(_SIGNS, signs, strict=False)
    parts = {name: value for name, value in known if not math.isnan(value)}
    shares = signs[len(_SIGNS) :][: len(labels)]
    likely = signs[len(_SIGNS) + len(labels) :]
    parts["missing"] = missing(shares, [1.0] * len(labels))
    if likely:
        parts["doubted"] = 1 - min(likely)
    return Doubt(parts, dict(zip(labels, likely, strict=False)))


PRESENT = 0.5
"""The classifier's probability from which on a class is expected in a prediction."""
_SHOWN = 0.1


def prediction_signs(first: Tensor | None, probs: Tensor) -> Tensor:
    """All that `doubt_of_prediction` needs, as one tensor.

    Args:
        first: (L + 1, H, W), the probabilities before a CRF; None where there was none.
        probs: (L + 1, H, W), those that the mask is made of.

    Returns:
        (3 + L,).
    """
    found = probs.argmax(dim=0)
    refined = probs.new_tensor(math.nan)
    if first is not None:
        refined = disagreement(first.argmax(dim=0), found, len(probs) - 1)
    return torch.cat([torch.stack([unsure(probs), refined]), areas(found, len(probs) - 1)])


def doubt_of_prediction(
    labels: Sequence[int], signs: Sequence[float], likely: Sequence[float]
) -> Doubt:
    """What is noted of a predicted mask.

    Args:
        labels: L mask values that it may hold.
        signs: of `prediction_signs`.
        likely: C probabilities by the classifier; none where there is none.
    """
    parts = {"unsure": signs[0]}
    if not math.isnan(signs[1]):
        parts["refined"] = signs[1]
    if not likely:
        return Doubt(parts)
    shares = dict(zip(labels, signs[3:], strict=True))
    every = range(1, len(likely) + 1)
    expected = [sure if sure >= PRESENT else 0.0 for sure in likely]
    parts["missing"] = missing([shares.get(label, 0.0) for label in every], expected)
    found = [label for label, share in shares.items() if share > 0]
    parts["doubted"] = 1 - min((likely[label - 1] for label in found), default=1.0)
    shown = {label for label in every if likely[label - 1] >= _SHOWN} | set(found)
    return Doubt(parts, {label: likely[label - 1] for label in sorted(shown)})
