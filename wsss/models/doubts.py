"""What is noted of a mask's uncertainty while it is made."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from wsss.data.scores import Doubt
from wsss.errors import WsssError
from wsss.labels import IGNORE_INDEX
from wsss.metrics.uncertainty import areas, disagreement, missing, overlaps, unsure
from wsss.seeding.indexing import best_channel, index_tensor


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
        before: (2, L + 1), the `overlaps` of the mask's source with its own source; 0 if unknown.
        likely: (L,) the classifier's probabilities of the tags; empty where it wasn't asked.

    Returns:
        (5 + 5L,), or (5 + 6L,) with the classifier's probabilities.
    """
    refined = overlaps(best_channel(first), best_channel(probs), len(labels))
    shares = areas(mask, IGNORE_INDEX).index_select(0, index_tensor(labels, mask.device))
    return torch.cat([unsure(probs)[None], before.flatten(), refined.flatten(), shares, likely])


def doubt_of(labels: Sequence[int], signs: Tensor) -> Doubt:
    """What is noted of a mask: from its image's tags as mask values, and what `signs_of` says."""
    count = len(labels)
    found, overlapping, shares, likely = signs.split(
        [1, 4 * (count + 1), count, len(signs) - 5 * (count + 1)]
    )
    before, refined = overlapping.view(2, 2, count + 1)
    changed = {"before": disagreement(before), "refined": disagreement(refined)}
    known = {name: value for name, value in changed.items() if not math.isnan(value)}
    parts = {"unsure": found.item(), **known}
    parts["missing"] = missing(shares.tolist(), [1.0] * count)
    if len(likely):
        parts["doubted"] = 1 - min(likely.tolist())
    return Doubt(parts, dict(zip(labels, likely.tolist(), strict=False)))


def require_finite(doubt: Doubt, mask: Path) -> None:
    """Refuse a mask that follows from numbers which aren't finite, before it is written.

    Raises:
        WsssError: the probabilities that it was made of are no numbers.
    """
    if any(map(math.isnan, (doubt.parts["unsure"], *doubt.tags.values()))):
        raise WsssError(
            f"The network's answers for the mask {mask} are infinite or no numbers; expected "
            "probabilities: take runtime.precision=fp32, or weights of a training that did not "
            "diverge."
        )


PRESENT = 0.5
"""The classifier's probability from which on a class is expected in a prediction."""
_SHOWN = 0.1


def prediction_signs(first: Tensor | None, probs: Tensor) -> Tensor:
    """All that `doubt_of_prediction` needs, as one tensor.

    Args:
        first: (L + 1, H, W), the probabilities before a CRF; None where there was none.
        probs: (L + 1, H, W), those that the mask is made of.

    Returns:
        (2 + L,), or (4 + 3L,) with those before a CRF.
    """
    found, labels = best_channel(probs), len(probs) - 1
    parts = [unsure(probs)[None], areas(found, labels)]
    if first is not None:
        parts.append(overlaps(best_channel(first), found, labels).flatten())
    return torch.cat(parts)


def doubt_of_prediction(labels: Sequence[int], signs: Tensor, likely: Sequence[float]) -> Doubt:
    """What is noted of a predicted mask.

    Args:
        labels: L mask values that it may hold.
        signs: of `prediction_signs`, on the CPU.
        likely: C probabilities by the classifier; none where there is none.
    """
    parts, size = {"unsure": signs[0].item()}, len(labels) + 1
    if len(signs) > 1 + size:
        parts["refined"] = disagreement(signs[1 + size :].view(2, size))
    if not likely:
        return Doubt(parts)
    shares = dict(zip(labels, signs[2 : 1 + size].tolist(), strict=True))
    every = range(1, len(likely) + 1)
    expected = [sure if sure >= PRESENT else 0.0 for sure in likely]
    parts["missing"] = missing([shares.get(label, 0.0) for label in every], expected)
    found = [label for label, share in shares.items() if share > 0]
    parts["doubted"] = 1 - min((likely[label - 1] for label in found), default=1.0)
    shown = {label for label in every if likely[label - 1] >= _SHOWN} | set(found)
    return Doubt(parts, {label: likely[label - 1] for label in sorted(shown)})
