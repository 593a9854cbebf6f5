"""What is noted of a pseudo-mask's uncertainty while it is made."""

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
