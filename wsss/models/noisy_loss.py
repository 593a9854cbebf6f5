"""What pixels of a pseudo-mask cost: losses that bear with labels that are wrong.

Pure functions of logits (B, C + 1, H, W), background first, and masks (B, H, W) int64 in
{0..C, 255}; 255 is ignored everywhere. A loss by pixel is (B, H, W), 0 where ignored.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss.voc import IGNORE_INDEX

# log 0 of a label that a pixel doesn't have, as in the paper on the symmetric loss
_LOG_ZERO = -4.0


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """−log p of the pixel's label, (B, H, W)."""
    return F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="none")


def symmetric_cross_entropy(logits: Tensor, target: Tensor, reverse_weight: float) -> Tensor:
    """−log p + w · 4 (1 − p), p of the pixel's label, (B, H, W).

    The second term is the cross-entropy with label and answer exchanged, log 0 taken as −4: it is
    bounded, so a wrong label costs a sure answer little. Wang et al., "Symmetric Cross Entropy for
    Robust Learning with Noisy Labels" (ICCV 2019).

    Args:
        logits: (B, C + 1, H, W).
        target: (B, H, W).
        reverse_weight: w, at least 0.
    """
    loss = cross_entropy(logits, target)
    # where ignored the cross-entropy is 0, which is p = 1 and costs nothing
    return loss - reverse_weight * _LOG_ZERO * (1 - (-loss).exp())


def generalised_cross_entropy(logits: Tensor, target: Tensor, power: float) -> Tensor:
    """(1 − p^q) / q, p of the pixel's label, (B, H, W).

    Between cross-entropy (q → 0) and the mean absolute error (q = 1). Zhang & Sabuncu, "Generalized
    Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels" (NeurIPS 2018).

    Args:
        logits: (B, C + 1, H, W).
        target: (B, H, W).
        power: q, in (0, 1].
    """
    return (1 - (-power * cross_entropy(logits, target)).exp()) / power


def halves(target: Tensor) -> tuple[Tensor, Tensor]:
    """Where the background is and where any class, (B, H, W) bool each; 255 is neither."""
    return target == 0, (target != 0) & (target != IGNORE_INDEX)


def weighted_mean(losses: Tensor, weight: Tensor) -> Tensor:
    """Σ w·loss / Σ w; 0 where nothing weighs.

    Args:
        losses: (B, H, W).
        weight: (B, H, W), at least 0.
    """
    total = weight.sum()
    return (losses * weight).sum() / torch.where(total > 0, total, 1.0)


def balanced_mean(losses: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean of the weighted means over background and over foreground pixels.

    Most pixels are background: with one mean over all of them the classes would have little say.
    Ru et al., "Learning Affinity from Attention" (CVPR 2022), weigh the halves like this.

    Args:
        losses: (B, H, W).
        target: (B, H, W).
        weight: (B, H, W), at least 0.

    Returns:
        Scalar; the mean of one half where the other doesn't weigh, 0 where none does.
    """
    parts = [torch.where(part, weight, 0.0) for part in halves(target)]
    present = sum((part.sum() > 0).float() for part in parts)
    total = sum(weighted_mean(losses, part) for part in parts)
    return torch.as_tensor(total / torch.as_tensor(present).clamp_min(1))


def agreeing(losses: Tensor, target: Tensor, drop: float) -> Tensor:
    """Pixels that stay when those of the highest losses are left out.

    A network learns what labels have in common before it learns their mistakes: late in training
    the labels it still disagrees with are often wrong. Background and foreground lose the same
    share of their pixels, for the foreground's losses are higher throughout.

    Args:
        losses: (B, H, W).
        target: (B, H, W).
        drop: share to leave out, in [0, 1); rounded down to whole pixels.

    Returns:
        (B, H, W) bool, False where ignored.
    """
    keep = torch.zeros_like(target, dtype=torch.bool)
    for part in halves(target):
        own = losses.detach()[part]
        stay = own.numel() - int(drop * own.numel())
        if stay:
            keep |= part & (losses <= own.kthvalue(stay).values)
    return keep


def image_scores(logits: Tensor) -> Tensor:
    """How sure the picture as a whole is to hold each class.

    The log odds of a class at each pixel, z_c − log Σ_{k≠c} exp z_k, pooled by log-mean-exp: as the
    classifier of stage 1 pools its maps.

    Args:
        logits: (B, C + 1, H, W).

    Returns:
        (B, C), a logit for every class without the background.
    """
    log_probs = logits.float().log_softmax(dim=1)[:, 1:]
    # log(p / (1 − p)); p = 1 to the last digit would be infinite
    odds = log_probs - torch.log1p(-log_probs.exp().clamp_max(1 - 1e-6))
    return odds.flatten(2).logsumexp(dim=2) - math.log(odds[0, 0].numel())


def tag_loss(logits: Tensor, target: Tensor, tags: Tensor) -> Tensor:
    """Binary cross-entropy of the pooled answer against the picture's tags.

    A class that isn't tagged is nowhere in the crop. One that is tagged may lie outside of it: it
    counts as present where the mask has it, and has no say elsewhere.

    Args:
        logits: (B, C + 1, H, W).
        target: (B, H, W).
        tags: (B, C) in {0, 1}.

    Returns:
        Scalar.
    """
    classes = torch.arange(1, logits.shape[1], device=target.device)
    found = (target[:, None] == classes[:, None, None]).flatten(2).any(dim=2)
    known = found | (tags == 0)
    losses = F.binary_cross_entropy_with_logits(
        image_scores(logits), found.float(), reduction="none"
    )
    return weighted_mean(losses, known.float())
