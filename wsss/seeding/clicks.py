"""From clicks to evidence: what a clicked location reaches by walking through an image's slots.

The walk that makes seeds of class activation starts here from single locations: a mark on the
clicked token is carried to the tokens that share its slots, which are mostly those of one object or
one part of the background.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from wsss.labels import IGNORE_INDEX
from wsss.seeding.cam import merge_scales, resize
from wsss.seeding.maps import Evidence
from wsss.seeding.walks import Walk, blocks_of, min_max


@dataclass(frozen=True)
class Click:
    """A location that a person names.

    Attributes:
        x: column of the full-size image, from 0.
        y: row.
        label: mask value of what is there; 0 is background.
    """

    x: int
    y: int
    label: int


@dataclass(frozen=True)
class ClickRules:
    """How clicks become evidence.

    Attributes:
        walks: that carry a click's mark; their results, each scaled to 0…1, are averaged.
        threshold: θ; what a click reaches less than this it says nothing of.
        strength: a; logits of the click's label where it reaches everything.
        others: what it takes from the logits of other labels, as a share of that.
        radius: of the disc around a click that is certain, as a share of the shorter side.
    """

    walks: tuple[Walk, ...] = (Walk("16.0", 4), Walk("16.2", 4), Walk("16.4", 4))
    threshold: float = 0.3
    strength: float = 48.0
    others: float = 0.5
    radius: float = 0.012

    __pydantic_config__: ClassVar[dict[str, object]] = {"extra": "forbid"}


def click_reach(
    evidence: Sequence[Evidence], places: Tensor, walks: Sequence[Walk], size: tuple[int, int]
) -> Tensor:
    """What each of n locations reaches in one image.

    Args:
        evidence: of the image at every scale.
        places: (n, 2), x and y as shares of width and height, in [0, 1).
        walks: through slots, at least one.
        size: (H, W) of the maps.

    Returns:
        (n, H, W) in 0…1, means over walks, scales and mirror images.
    """
    return merge_scales([_reach(one, places, walks) for one in evidence], size)[0]


def _reach(evidence: Evidence, places: Tensor, walks: Sequence[Walk]) -> Tensor:
    """(1, n, h, w) at one scale, on the finest grid among the walks' blocks."""
    pairs = [
        (walk, evidence.assignments[name])
        for walk in walks
        for name in blocks_of(walk.block, evidence.assignments)
    ]
    finest = max(one.grid for _, one in pairs)
    total = torch.zeros(())
    for walk, one in pairs:
        marks = _marks(places, one.grid, evidence.flipped).to(one.logits.device)
        carried = walk(marks, one.logits)
        map_ = evidence.folded(min_max(carried.unflatten(2, one.grid)))
        total = total + walk.weight * resize(map_, finest)
    return total / sum(walk.weight for walk, _ in pairs)


def _marks(places: Tensor, grid: tuple[int, int], flipped: bool) -> Tensor:
    """(1 or 2, n, h·w): 1 at the token of each location, and of its mirror image."""
    h, w = grid
    rows = (places[:, 1] * h).long().clamp(0, h - 1)
    columns = (places[:, 0] * w).long().clamp(0, w - 1)
    marks = torch.zeros(1 + flipped, len(places), h, w)
    index = torch.arange(len(places))
    marks[0, index, rows, columns] = 1
    if flipped:
        marks[1, index, rows, w - 1 - columns] = 1
    return marks.flatten(2)


def click_logits(reach: Tensor, channels: Sequence[int], labels: int, rules: ClickRules) -> Tensor:
    """What clicks add to the logits of an image's labels.

    a·max(0, (r − θ)/(1 − θ)) to the label of each click, less a share of it to the others; a sum,
    so that the order of clicks doesn't matter.

    Args:
        reach: (n, H, W) in 0…1, r of each click.
        channels: n channels, the labels' of the clicks.
        labels: L, channels that there are, background first.
        rules: θ, a, and the share.

    Returns:
        (L, H, W).
    """
    strength = rules.strength * ((reach - rules.threshold) / (1 - rules.threshold)).clamp_min(0)
    sign = torch.full((labels, len(reach)), -rules.others, device=reach.device)
    sign[list(channels), torch.arange(len(reach))] = 1
    return torch.einsum("ln,nhw->lhw", sign, strength)


def certain(clicks: Sequence[Click], size: tuple[int, int], radius: float) -> Tensor:
    """The labels of the discs around clicks, 255 elsewhere.

    A pixel in several discs goes to the nearest click, of equally near ones to the last.

    Args:
        clicks: in pixels of an image of this size.
        size: (H, W).
        radius: in pixels; a click's own pixel is certain in any case.

    Returns:
        (H, W) uint8.
    """
    found = torch.full(size, IGNORE_INDEX, dtype=torch.uint8)
    nearest = torch.full(size, float(max(radius, 0.5) ** 2))
    y = torch.arange(size[0])[:, None]
    x = torch.arange(size[1])
    for click in clicks:
        distance = ((y - click.y) ** 2 + (x - click.x) ** 2).float()
        closer = distance <= nearest
        found[closer] = click.label
        nearest[closer] = distance[closer]
    return found
