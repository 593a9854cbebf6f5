"""The segmenter's loss on pseudo-masks, which are often wrong.

Pure functions of logits (B, C + 1, H, W), background first, and masks (B, H, W) int64 in
{0..C, 255}; 255 is ignored everywhere. A loss by pixel is (B, H, W), 0 where ignored.

Where processes share a batch, `total` adds up a count over all of them: what each returns is its
part of the batch's loss.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from wsss.config import MaskLossConfig
from wsss.labels import IGNORE_INDEX

# log 0 of a label that a pixel doesn't have, as in the paper on the symmetric loss
_LOG_ZERO = -4.0
Total = Callable[[Tensor], Tensor]
"""A count of this process → of all that share the batch."""


def _own(count: Tensor) -> Tensor:
    return count


def mask_loss(
    settings: MaskLossConfig,
    logits: Tensor,
    target: Tensor,
    total: Total = _own,
    trusted: Tensor | None = None,
) -> Tensor:
    """The loss of a batch of crops as a config puts it together.

    Args:
        settings: `train_seg.loss` of a config.
        logits: (B, C + 1, H, W).
        target: (B, H, W).
        total: of a count over all processes.
        trusted: (B,) bool, crops whose mask a person vouches for: plain cross-entropy, whatever
            `settings` do about wrong labels. None where there are none.

    Returns:
        Scalar; 0 where every pixel is ignored.
    """
    if settings.kind == "symmetric":
        losses = symmetric_cross_entropy(logits, target, settings.reverse_weight)
        if trusted is not None:
            losses = torch.where(trusted[:, None, None], cross_entropy(logits, target), losses)
    else:
        losses = cross_entropy(logits, target)
    if settings.balanced:
        return balanced_mean(losses, target, total)
    return masked_mean(losses, target != IGNORE_INDEX, total)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """−log p of the pixel's label, (B, H, W)."""
    return F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="none")


def symmetric_cross_entropy(logits: Tensor, target: Tensor, reverse_weight: float) -> Tensor:
    """−log p + w · 4 (1 − p), p of the pixel's label, (B, H, W).

    The second term is the cross-entropy with label and answer exchanged, log 0 taken as −4: it is
    bounded, so a wrong label costs a confident answer little. Wang et al., "Symmetric Cross Entropy
    for Robust Learning with Noisy Labels" (ICCV 2019).

    Args:
        logits: (B, C + 1, H, W).
        target: (B, H, W).
        reverse_weight: w, at least 0.
    """
    loss = cross_entropy(logits, target)
    # where ignored the cross-entropy is 0, which is p = 1 and costs nothing
    return loss - reverse_weight * _LOG_ZERO * (1 - (-loss).exp())


def masked_mean(losses: Tensor, mask: Tensor, total: Total = _own) -> Tensor:
    """Mean of losses (B, H, W) where the mask (B, H, W) is true; 0 where it never is."""
    weight = mask.to(losses.dtype)
    count = total(weight.sum())
    return (losses * weight).sum() / torch.where(count > 0, count, 1.0)


def balanced_mean(losses: Tensor, target: Tensor, total: Total = _own) -> Tensor:
    """Mean of the mean over background pixels and the mean over foreground pixels.

    Most pixels are background: with one mean over all of them the classes would have little say.
    Ru et al., "Learning Affinity from Attention" (CVPR 2022), weight the halves like this.

    Args:
        losses: (B, H, W).
        target: (B, H, W).
        total: of a count over all processes.

    Returns:
        Scalar; the mean of one half where the other has no pixel, 0 where neither has.
    """
    background, foreground = target == 0, (target != 0) & (target != IGNORE_INDEX)
    pixels = total(torch.stack([background.sum(), foreground.sum()]))
    present = (pixels > 0).sum().float()
    halves = masked_mean(losses, background, total) + masked_mean(losses, foreground, total)
    return halves / present.clamp_min(1)
