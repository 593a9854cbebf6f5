"""How probable a class has to be in an image for its regions to be kept. Pure; asks tags alone."""

import numpy as np
from numpy.typing import NDArray

BETA = 2.0
"""A region that is lost weighs as much as β² false ones."""
LIKE_OTHERS = 10.0
"""Images with the class that the mean over all classes counts for, beside a class's own."""
_STEPS = np.arange(1, 100) / 100


def least_probabilities(
    probs: NDArray[np.floating], tags: NDArray[np.floating]
) -> NDArray[np.float64]:
    """From which probability on each class counts as present.

    The threshold of greatest F_β = (1 + β²) TP / ((1 + β²) TP + β² FN + FP), β = 2, of deciding
    the tags of images; where several are as good, their mean. A class's counts are joined by those
    of all classes, scaled to 10 images with a class, because few images are held back.

    Args:
        probs: (n, C) the classifier's probabilities for images it wasn't trained on.
        tags: (n, C) in {0, 1}.

    Returns:
        (C,) in 0…1; 0, which keeps everything, where no image has a tag.
    """
    present = np.asarray(tags) > 0
    if not present.any():
        return np.zeros(probs.shape[1])
    kept = probs[None] >= _STEPS[:, None, None]
    hits, false = (kept & present).sum(axis=1), (kept & ~present).sum(axis=1)  # (steps, C)
    lost = present.sum(axis=0) - hits
    share = LIKE_OTHERS / present.sum()
    right, missed, wrong = (
        own + share * own.sum(axis=1, keepdims=True) for own in (hits, lost, false)
    )
    score = (1 + BETA**2) * right / ((1 + BETA**2) * right + BETA**2 * missed + wrong)
    best = score >= score.max(axis=0) - 1e-9
    return (_STEPS[:, None] * best).sum(axis=0) / best.sum(axis=0)
