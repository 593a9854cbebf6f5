"""Average precision of image-level scores. Pure."""

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.metrics.confusion import mean_known


def average_precision(
    scores: NDArray[np.floating] | torch.Tensor, tags: NDArray[np.generic] | torch.Tensor
) -> tuple[NDArray[np.float64], float]:
    """Average precision of each class, Σ (Rₙ − Rₙ₋₁) Pₙ over the distinct thresholds, and its mean.

    No interpolation; equal scores are one threshold, so that their order cannot matter.

    Args:
        scores: (n, C), higher = more likely; logits or probabilities.
        tags: (n, C) of 0 and 1.

    Returns:
        (C,) float64 in [0, 1], nan for a class without a positive, and the mean over the others
        (nan if there are none).

    Raises:
        ValueError: shapes differ or are not (n, C), or a score is not finite.
    """
    s, t = (np.asarray(torch.as_tensor(v).detach().cpu(), np.float64) for v in (scores, tags))
    if s.shape != t.shape or s.ndim != 2:
        raise ValueError(f"scores {s.shape} and tags {t.shape}; expected the same (n, C)")
    if not np.isfinite(s).all():
        raise ValueError("scores hold nan or infinity; expected finite numbers")
    per_class = np.array([_one_class(s[:, c], t[:, c] > 0.5) for c in range(s.shape[1])])
    return per_class, mean_known(per_class)


def _one_class(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    if not positive.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], np.cumsum(positive[order])
    last = np.append(ranked[1:] != ranked[:-1], True)  # the last rank of every distinct score
    recall = hits[last] / hits[-1]
    precision = hits[last] / (np.flatnonzero(last) + 1)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
