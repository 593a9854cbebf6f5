"""Thresholds that part a class's scores from the background, without ground truth."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def otsu_threshold(scores: Tensor, bins: int = 128) -> Tensor:
    """The threshold that best parts each channel's values in two (Otsu 1979), per channel.

    Args:
        scores: (C, h, w) in 0…1.
        bins: of the histogram.

    Returns:
        (C,), in 0…1.
    """
    histogram, centres = _histogram(scores, bins)
    weight = histogram.cumsum(1)
    total = weight[:, -1:]
    mass = (histogram * centres).cumsum(1)
    between = (mass[:, -1:] * weight - mass * total) ** 2 / (weight * (total - weight)).clamp_min(
        1e-12
    )
    # among equal bests take the middle one: between two far peaks every cut is as good
    best = between >= between.amax(dim=1, keepdim=True) * (1 - 1e-9)
    index = (best * torch.arange(1, bins + 1, device=scores.device)).sum(1) / best.sum(1)
    return (index / bins).to(scores.dtype)


def mixture_threshold(scores: Tensor, bins: int = 128, iterations: int = 100) -> Tensor:
    """Where the higher of two Gaussians becomes the likelier one, per channel.

    Expectation maximisation on the histogram of the channel's values, from the two sides of Otsu's
    threshold; no spread becomes smaller than a bin. Between the two means the first bin in which
    the higher component has the greater responsibility.

    Args:
        scores: (C, h, w) in 0…1.
        bins: of the histogram.
        iterations: of expectation maximisation.

    Returns:
        (C,), in 0…1.
    """
    histogram, centres = _histogram(scores, bins)
    if len(scores) == 0:
        return scores.new_zeros(0)
    dtype = histogram.dtype
    high = (centres >= otsu_threshold(scores, bins).to(dtype)[:, None]).to(dtype)
    for _ in range(iterations):
        log_odds, means = _fit(torch.stack([1 - high, high]) * histogram, centres, 1 / bins)
        high = log_odds.sigmoid()
    between = (centres > means[0, :, None]) & (centres < means[1, :, None]) & (log_odds > 0)
    first = between.long().argmax(dim=1) / bins
    return torch.where(between.any(dim=1), first, means.mean(dim=0)).to(scores.dtype)


def _fit(weights: Tensor, centres: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Two Gaussians of weighted bins: log-odds of the second one (C, bins), means (2, C)."""
    mass = weights.sum(dim=2).clamp_min(1e-12)
    means = (weights * centres).sum(dim=2) / mass
    off = centres - means[..., None]
    variance = ((weights * off**2).sum(dim=2) / mass).clamp_min(least**2)
    density = mass.log()[..., None] - variance.log()[..., None] / 2
    density = density - off**2 / (2 * variance[..., None])
    return density[1] - density[0], means


def _histogram(scores: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """(C, bins) counts of (C, …) scores in 0…1 and the bins' centres (bins,), in double precision.

    Where a device knows none, counts stay exact below 2²⁴.
    """
    flat = (scores.flatten(1) * bins).long().clamp(0, bins - 1)
    dtype = _wide(scores.device)
    histogram = torch.zeros(len(scores), bins, device=scores.device, dtype=dtype)
    histogram.scatter_add_(1, flat, torch.ones_like(flat, dtype=dtype))
    centres = (torch.arange(bins, device=scores.device, dtype=dtype) + 0.5) / bins
    return histogram, centres


def _wide(device: torch.device) -> torch.dtype:
    """Double precision; single where a device knows no other (Apple's)."""
    return torch.float32 if device.type == "mps" else torch.float64


RULES: dict[str, Callable[[Tensor], Tensor]] = {
    "otsu": otsu_threshold,
    "mixture": mixture_threshold,
}


def thresholds(
    scores: Tensor, background: float | str, levels: Sequence[float] | None = None
) -> Tensor:
    """The score of every class above which it stands out.

    Args:
        scores: (C, h, w) in 0…1.
        background: a number in 0…1, or the name of a rule of `RULES`.
        levels: C numbers: 2^level times the area of a class lies above its threshold; none moves
            any.

    Returns:
        (C,).
    """
    if isinstance(background, str):
        found = RULES[background](scores)
    else:
        found = scores.new_full((len(scores),), background)
    for i, level in enumerate(levels or ()):
        if level:
            found[i] = moved(scores[i], found[i], level)
    return found


def moved(scores: Tensor, threshold: Tensor | float, level: float) -> Tensor:
    """The threshold above which 2^level times as much of a score map lies, a scalar.

    Args:
        scores: (h, w) in 0…1.
        threshold: in 0…1.
        level: more area above 0, less below it.
    """
    share = (scores > threshold).float().mean().to(_wide(scores.device)) * 2.0**level
    return scores.flatten().float().quantile((1 - share).clamp(0, 1).float())
