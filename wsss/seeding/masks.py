"""From score maps and probabilities to masks: the only place where scores become labels.

The first channel of probabilities is the background. Data without one keep the channel, at 0:
every pixel is one of the image's tags, and where there is no tag to choose nothing is known.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from wsss.labels import IGNORE_INDEX
from wsss.seeding.cam import resize
from wsss.seeding.indexing import index_tensor
from wsss.seeding.thresholds import thresholds

Refiner = Callable[[list[Tensor], list[Tensor]], list[Tensor]]
"""(images (3, H_i, W_i) uint8, probabilities (L_i, H_i, W_i)) → refined probabilities."""


def margins(
    scores: Tensor,
    background: float | str,
    size: tuple[int, ...],
    levels: Sequence[float] | None = None,
) -> Tensor:
    """How much each class stands out: score − threshold, at the image's size.

    Args:
        scores: (C, h, w) in 0…1.
        background: threshold in 0…1, or the name of a rule of `RULES`.
        size: (H, W).
        levels: C numbers, see `thresholds`.

    Returns:
        (C, H, W), positive where the class outdoes the background.
    """
    scores = scores - thresholds(scores, background, levels)[:, None, None]
    return resize(scores[None], (size[0], size[1]))[0]


def seed_mask(margins: Tensor, labels: Tensor, background: bool = True) -> Tensor:
    """Hard seed: the class that stands out most, background where none does.

    Args:
        margins: (C, H, W), score − threshold.
        labels: (C,), mask value of every channel.
        background: whether a pixel may be none of the classes; if not, one that has no class to be
            becomes 255.

    Returns:
        (H, W) uint8.
    """
    if len(margins) == 0:
        nothing = 0 if background else IGNORE_INDEX
        return torch.full(margins.shape[1:], nothing, dtype=torch.uint8, device=margins.device)
    best, index = margins.max(dim=0)
    if not background:
        return labels[index].to(torch.uint8)
    return torch.where(best > 0, labels[index], 0).to(torch.uint8)


def seed_probabilities(margins: Tensor, sharpness: float, background: bool = True) -> Tensor:
    """Probabilities of background and classes: softmax of (0, sharpness · margin).

    Args:
        margins: (C, H, W), score − threshold.
        sharpness: slope; the background's logit is 0.
        background: whether there is one; if not, its probability is 0 where there are classes.

    Returns:
        (C + 1, H, W), background first, sums to 1.
    """
    logit = 0.0 if background or len(margins) == 0 else -torch.inf
    first = margins.new_full((1, *margins.shape[1:]), logit)
    return torch.cat([first, sharpness * margins]).softmax(dim=0)


def refine(
    images: Sequence[Tensor],
    probs: Sequence[Tensor],
    refiner: Refiner | None,
    background: bool = True,
) -> list[Tensor]:
    """Probabilities refined by the images' own edges, where several labels compete.

    Args:
        images: (3, H_i, W_i) uint8 RGB each.
        probs: (L_i, H_i, W_i) each, background first, every pixel summing to 1.
        refiner: such as a dense CRF; None leaves the probabilities.
        background: whether the background competes; if not, its plane stays as it is.

    Returns:
        (L_i, H_i, W_i) each, every pixel summing to 1.
    """
    refined = list(probs)
    first = 0 if background else 1
    several = [i for i, prob in enumerate(probs) if len(prob) > first + 1]
    if refiner is not None and several:
        found = refiner([images[i] for i in several], [probs[i][first:] for i in several])
        for i, prob in zip(several, found, strict=True):
            refined[i] = torch.cat([probs[i][:first], prob]) if first else prob
    return refined


def harden(
    probs: Tensor, labels: Sequence[int], confidence: float = 0.0, background: bool = True
) -> Tensor:
    """The likeliest label of each pixel, 255 where it isn't likely enough.

    Args:
        probs: (L + 1, H, W), background first, each pixel summing to 1.
        labels: L mask values.
        confidence: smallest probability of a label that is kept, in [0, 1).
        background: whether the first channel is one; if not, it becomes 255.

    Returns:
        (H, W) uint8.
    """
    best, index = probs.max(dim=0)
    values = index_tensor([0 if background else IGNORE_INDEX, *labels], probs.device)
    return torch.where(best >= confidence, values[index], IGNORE_INDEX).to(torch.uint8)


def without_others(probs: Tensor, labels: Sequence[int]) -> Tensor:
    """Probabilities given that only background and some classes can be there.

    Args:
        probs: (C + 1, H, W), background first, sums to 1.
        labels: L mask values, ascending; all C leave the probabilities as they are.

    Returns:
        (L + 1, H, W), sums to 1.
    """
    if len(labels) == len(probs) - 1:
        return probs
    own = probs.index_select(0, index_tensor([0, *labels], probs.device))
    total = own.sum(dim=0, keepdim=True)
    background = torch.zeros_like(own)
    background[0] = 1
    return torch.where(total > 0, own / total.clamp_min(1e-30), background)


def among_tags(probs: Tensor, labels: Sequence[int]) -> Tensor:
    """Probabilities given that no other class is there: each tag's share of the foreground.

    A class that isn't tagged is an object mistaken for another, not background: p₀ stays, and the
    rest, 1 − p₀, is dealt to the tags as p_c / Σ_tags p.

    Args:
        probs: (C + 1, H, W), sums to 1.
        labels: L mask values.

    Returns:
        (L + 1, H, W), sums to 1; all background for an image without tags.
    """
    if not labels:
        return torch.ones_like(probs[:1])
    own = probs.index_select(0, index_tensor(labels, probs.device))
    total = own.sum(dim=0, keepdim=True)
    shares = torch.where(total > 0, own / total.clamp_min(1e-30), 1 / len(own))
    return torch.cat([probs[:1], (1 - probs[:1]) * shares])


def at_true_rates(probs: Tensor, background_odds: float) -> Tensor:
    """Probabilities of a network that learned as if half of all pixels were background.

    A loss that gives background and foreground half of the weight each multiplies the odds of the
    background by foreground / background pixels; this takes it back, or objects come out too large.
    Menon et al., "Long-tail learning via logit adjustment" (ICLR 2021), do so for classes.

    Args:
        probs: (L + 1, H, W), background first, sums to 1.
        background_odds: background pixels / foreground pixels of the masks it was trained on; 1
            where its loss was no such balance.

    Returns:
        (L + 1, H, W), sums to 1.
    """
    weighted = torch.cat([background_odds * probs[:1], probs[1:]])
    return weighted / weighted.sum(dim=0)


def times_seeds(probs: Tensor, seeds: Tensor, weight: float) -> Tensor:
    """The product p · s^w of two experts that err on their own (Hinton 2002).

    A segmenter knows what a class looks like in all images, a seed which slots of this one belong
    together.

    Args:
        probs: p, (L + 1, H, W), sums to 1.
        seeds: s, (L + 1, H, W), sums to 1; below 10⁻⁴ it forbids no more than at 10⁻⁴.
        weight: w, 0 or more.

    Returns:
        (L + 1, H, W), sums to 1.
    """
    product = probs * seeds.clamp_min(1e-4) ** weight
    return product / product.sum(dim=0)
