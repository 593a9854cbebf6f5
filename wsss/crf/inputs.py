"""One image to refine, checked; and back from solved images to what the caller gave.

The rest of the package sees lists of `Problem`, whatever structure the caller's tensors have.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wsss.crf.unary import log_unary
from wsss.errors import WsssError

Batch = Tensor | Sequence[Tensor]
SUM_TOLERANCE = 0.02  # what half-precision softmaxes and resized maps are off by


@dataclass(frozen=True)
class Problem:
    """An image and the labels that compete in it.

    Attributes:
        image: (3, H, W) uint8, RGB.
        log_probs: (L, H, W) float, log probabilities of the labels that take part.
        compatibility: (L, L) or None for Potts.
    """

    image: Tensor
    log_probs: Tensor
    compatibility: Tensor | None = None


def make_problems(
    images: Batch,
    probs: Batch,
    labels: Sequence[Sequence[int]] | None,
    compatibility: Tensor | None,
    check_values: bool | None = None,
) -> list[Problem]:
    """Checks what the caller gave and picks each image's own labels.

    Args:
        images: (B, 3, H, W) uint8, or a list of (3, H_i, W_i); one channel counts as grey.
        probs: (B, L, H, W) in [0, 1], or a list of (L_i, H_i, W_i).
        labels: each image's channels that take part, or None for all.
        compatibility: (L, L) over all the channels, or None.
        check_values: whether to look at the probabilities' values; None is yes on the CPU alone,
            as elsewhere a look makes the host wait for the device.

    Raises:
        WsssError: for anything that is not as said.
    """
    if len(images) != len(probs) or (labels is not None and len(labels) != len(probs)):
        count = "" if labels is None else f" and labels for {len(labels)}"
        raise WsssError(
            f"the dense CRF got {len(images)} images, probabilities for {len(probs)}{count}: give "
            "as many of each"
        )
    problems = []
    for i, (image, prob) in enumerate(zip(images, probs, strict=True)):
        _check_shapes(i, image, prob)
        look = prob.device.type == "cpu" if check_values is None else check_values
        if look:
            _check_values(i, prob)
        matrix = _match(i, compatibility, prob)
        if labels is not None:
            own = _own_labels(i, labels[i], prob.shape[0])
            prob = _restrict(prob, own)
            matrix = matrix[own][:, own] if matrix is not None else None
        exact = prob if prob.dtype == torch.float64 else prob.float()
        problems.append(Problem(image.expand(3, -1, -1), log_unary(exact), matrix))
    return problems


def collect(
    marginals: list[Tensor], probs: Batch, labels: Sequence[Sequence[int]] | None
) -> Tensor | list[Tensor]:
    """Puts marginals back among all channels, in the structure and dtype of `probs`."""
    full = []
    for i, (marginal, prob) in enumerate(zip(marginals, probs, strict=True)):
        if labels is not None:
            rows = dict(zip(labels[i], marginal, strict=True))
            zero = torch.zeros_like(marginal[0])
            marginal = torch.stack([rows.get(label, zero) for label in range(len(prob))])
        full.append(marginal.to(prob.dtype))
    if isinstance(probs, Tensor):
        return torch.stack(full) if full else probs.clone()
    return full


def _restrict(prob: Tensor, own: list[int]) -> Tensor:
    """The own channels, scaled to sum to 1; uniform where all of them are 0."""
    part = torch.stack([prob[label] for label in own])  # an index's copy would be waited for
    part = part if part.dtype == torch.float64 else part.float()
    total = part.sum(0, keepdim=True)
    return torch.where(total > 0, part / total.clamp_min(1e-30), 1 / len(own))


def _own_labels(i: int, labels: Sequence[int], num_channels: int) -> list[int]:
    own = [int(label) for label in labels]
    if not own:
        raise WsssError(
            f"image {i} has an empty label set: give at least one channel (its tags and the "
            "background)"
        )
    strange = [label for label in own if not 0 <= label < num_channels]
    if strange or len(set(own)) != len(own):
        what = f"the label {strange[0]}" if strange else f"a label twice in {own}"
        raise WsssError(
            f"image {i} names {what}: give different channel indices from 0 to {num_channels - 1}"
        )
    return own


def _check_shapes(i: int, image: Tensor, prob: Tensor) -> None:
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] not in (1, 3):
        raise WsssError(
            f"image {i} is {image.dtype} of shape {tuple(image.shape)}: give uint8 RGB values "
            "0..255 of shape (3, H, W)"
        )
    if not prob.is_floating_point() or prob.ndim != 3 or prob.shape[0] < 1:
        raise WsssError(
            f"the probabilities of image {i} are {prob.dtype} of shape {tuple(prob.shape)}: give "
            "floats of shape (L, H, W) with at least one label"
        )
    if image.shape[1:] != prob.shape[1:] or prob[0].numel() == 0:
        raise WsssError(
            f"image {i} has {tuple(image.shape[1:])} pixels (height, width) and its probabilities "
            f"{tuple(prob.shape[1:])}: resize the probabilities to the image, and give no empty one"
        )
    if image.device != prob.device:
        raise WsssError(
            f"image {i} is on {image.device} and its probabilities on {prob.device}: move both to "
            "one device"
        )


def _check_values(i: int, prob: Tensor) -> None:
    detached = prob.detach()
    low, high = (float(value) for value in detached.aminmax())
    if not (low >= 0 and high < float("inf")):  # NaN fails both
        found = "negative values" if low < 0 else "NaN or infinite values"
        raise WsssError(
            f"the probabilities of image {i} hold {found} (smallest {low:g}, largest {high:g}): "
            "give values in 0..1; logits need a softmax first"
        )
    sums = detached.sum(0, dtype=torch.promote_types(prob.dtype, torch.float32))
    least, most = (float(value) for value in sums.aminmax())
    if least < 1 - SUM_TOLERANCE or most > 1 + SUM_TOLERANCE:
        raise WsssError(
            f"the probabilities of image {i} sum to {least:g} at one pixel and {most:g} at "
            "another: make every pixel sum to 1 over its labels, by a softmax or by division"
        )


def _match(i: int, compatibility: Tensor | None, prob: Tensor) -> Tensor | None:
    if compatibility is None:
        return None
    if compatibility.shape[0] != prob.shape[0]:
        raise WsssError(
            f"the compatibility matrix is for {compatibility.shape[0]} labels and image {i} has "
            f"{prob.shape[0]}: give a matrix with a row and a column for each label"
        )
    return compatibility
