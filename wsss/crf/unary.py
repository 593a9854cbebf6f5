"""What a dense CRF starts from: label probabilities, and their logarithms."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.errors import WsssError

UNSURE = 255  # the value of masks that says "could be anything"
MIN_PROB = 1e-5  # below it probabilities count as this: one pixel's 0 must not veto its neighbours


def log_unary(probs: Tensor) -> Tensor:
    """Logarithms of probabilities, as `pydensecrf.utils.unary_from_softmax` clips them.

    Args:
        probs: (L, H, W), probabilities.

    Returns:
        (L, H, W), log of the probabilities clipped to [1e-5, 1]; the negative unary energy.
    """
    return probs.clamp(MIN_PROB, 1.0).log()


def hard_label_probs(
    mask: Tensor | NDArray[np.integer[Any]],
    num_labels: int,
    gt_prob: float = 0.7,
    zero_unsure: bool = True,
) -> Tensor:
    """Probabilities for a mask that is right with probability `gt_prob` (IRN's unaries).

    The given label gets `gt_prob`, the others share the rest, unsure pixels are uniform: what
    `pydensecrf.utils.unary_from_labels` makes, as probabilities.

    Args:
        mask: (H, W), integers, in torch or NumPy. 255 is always unsure.
        num_labels: L, the number of channels.
        gt_prob: within (0, 1).
        zero_unsure: as in pydensecrf: if true, 0 means unsure too and label k stands in channel
            k − 1; if false, 0 is a label like the others and label k stands in channel k. Masks
            whose 0 is the background (VOC's, and what IRN refines) need false.

    Returns:
        (L, H, W) float32, each pixel summing to 1.

    Raises:
        WsssError: for a `gt_prob` outside (0, 1), no label, or a mask value beyond the labels.
    """
    if not 0 < gt_prob < 1:
        raise WsssError(f"gt_prob is {gt_prob}: give a probability between 0 and 1, both excluded")
    if num_labels < 1:
        raise WsssError(f"num_labels is {num_labels}: give the number of labels, 1 or more")
    whole = (
        mask.dtype.kind in "biu"
        if isinstance(mask, np.ndarray)
        else not (mask.is_floating_point() or mask.is_complex())
    )
    if mask.ndim != 2 or not whole:
        raise WsssError(
            f"the mask is {mask.dtype} of shape {tuple(mask.shape)}: give integers of shape (H, W)"
        )
    if isinstance(mask, np.ndarray):
        mask = torch.from_numpy(mask.astype(np.int64))
    channel = mask.long() - int(zero_unsure)
    unsure = (mask == UNSURE) | (channel < 0) if zero_unsure else mask == UNSURE
    if mask.device.type == "cpu":
        _refuse_strangers(mask, channel, unsure, num_labels, zero_unsure)
    others = (1 - gt_prob) / max(num_labels - 1, 1)
    labels = torch.arange(num_labels, device=mask.device)[:, None, None]
    probs = torch.where(labels == channel, gt_prob if num_labels > 1 else 1.0, others)
    return probs.float().masked_fill(unsure, 1 / num_labels)


def _refuse_strangers(
    mask: Tensor, channel: Tensor, unsure: Tensor, num_labels: int, zero_unsure: bool
) -> None:
    strange = ~unsure & ((channel < 0) | (channel >= num_labels))
    if bool(strange.any()):
        first = int(zero_unsure)
        raise WsssError(
            f"the mask holds the label {int(mask[strange][0])}, and {num_labels} labels go from "
            f"{first} to {num_labels - 1 + first} (255 is unsure): give the right num_labels"
        )
