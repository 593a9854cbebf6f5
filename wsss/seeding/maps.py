"""From what a classifier says of images to their score maps, by walks over scales and flip."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from glmix.attention import Attention
from glmix.clustering import SlotAssignment
from wsss.seeding.cam import fold_flip, merge_scales, resize
from wsss.seeding.indexing import index_tensor
from wsss.seeding.walks import Border, Seeding, Walk, blocks_of, min_max


class Evidence(NamedTuple):
    """What a classifier says of B images at one scale.

    With mirror images every tensor's first axis is 2B, in the order of `cam.with_flip`.

    Attributes:
        cam: (B, C, h, w), non-negative class activation of all C classes.
        assignments: block name (stride.index) → assignment with logits (B, K, N).
        features: (B, D_i, h_i, w_i) of the four stages.
        flipped: whether mirror images follow the images.
        attention: block name → (B, N, N) attention among tokens; empty where it was not recorded.
        logits: (B, C), a tag each, means over mirror images; empty where they were not kept.
    """

    cam: Tensor
    assignments: Mapping[str, SlotAssignment]
    features: Sequence[Tensor] = ()
    flipped: bool = False
    attention: Mapping[str, Tensor] = {}
    logits: Tensor = torch.empty(0)

    def of_tagged(self, tags: Tensor) -> "Evidence":
        """Class activation of the classes that any image is tagged with, 0 where an image isn't."""
        own = tagged(tags)
        mask = tags[:, own].repeat(2 if self.flipped else 1, 1)
        mask = mask.to(self.cam.device, non_blocking=True)
        cam = self.cam.index_select(1, index_tensor(own, self.cam.device))
        return self._replace(cam=cam * mask[..., None, None])

    def of_image(self, index: int) -> "Evidence":
        """What it says of one of the B images and of its mirror image."""
        images = len(self.cam) // (2 if self.flipped else 1)
        own, among = slice(index, None, images), self.attention
        return self._replace(
            cam=self.cam[own],
            assignments={
                name: one._replace(logits=one.logits[own]) for name, one in self.assignments.items()
            },
            features=[stage[own] for stage in self.features],
            attention=among.of(own) if isinstance(among, Attention) else among,
            logits=self.logits[own],
        )

    def folded(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) means of maps with those of mirror images, where there are any."""
        return fold_flip(maps) if self.flipped else maps


def tagged(tags: Tensor) -> list[int]:
    """Indices of the classes that any of B images has; tags (B, C) in {0, 1}, on the CPU."""
    return tags.any(dim=0).nonzero().flatten().tolist()


def score_maps(
    evidence: Sequence[Evidence], tags: Tensor, seeding: Seeding, size: tuple[int, int]
) -> Tensor:
    """Score maps of B images over scales and flip.

    Args:
        evidence: at every scale.
        tags: (B, C) in {0, 1}, on the CPU; classes that an image isn't tagged with score 0.
        seeding: walks and background evidence.
        size: (H, W) of the maps.

    Returns:
        (B, C, H, W) in 0…1.
    """
    evidence = [one.of_tagged(tags) for one in evidence]
    maps = [one.folded(walked(one, seeding.walks)) for one in evidence]
    scores = lower_at_border(evidence, min_max(merge_scales(maps, size)), seeding.border)
    return _scatter(scores, tags)


def lower_at_border(evidence: Sequence[Evidence], scores: Tensor, border: Border | None) -> Tensor:
    """Scores (B, C, H, W) less where a walk from the border arrives, scaled to 0…1 again."""
    if border is None:
        return scores
    reached = merge_scales(
        [one.folded(border_map(one, border)) for one in evidence],
        (scores.shape[-2], scores.shape[-1]),
    )
    return min_max(scores * (1 - border.weight * min_max(reached)))


def _scatter(scores: Tensor, tags: Tensor) -> Tensor:
    """Maps of the tagged classes (B, L, H, W) among all of them (B, C, H, W)."""
    full = scores.new_zeros(*tags.shape, *scores.shape[-2:])
    return full.index_copy_(1, index_tensor(tagged(tags), full.device), scores)


def walked(evidence: Evidence, walks: Sequence[Walk]) -> Tensor:
    """Class activation after walks, averaged; every walk runs on its block's own grid.

    Returns:
        (B, C, h, w): in 0…1 on the finest grid among the blocks; without walks class activation
        itself, non-negative.
    """
    return _mean_walk(walks, evidence, evidence.cam) if walks else evidence.cam


def border_map(evidence: Evidence, border: Border) -> Tensor:
    """What a walk from the border reaches, (B, 1, h, w) in 0…1 on the finest grid of its blocks."""
    blocks = blocks_of(border.block, evidence.assignments)
    grid = max(evidence.assignments[name].grid for name in blocks)
    mark = torch.ones(len(evidence.cam), 1, *grid, device=evidence.cam.device)
    k = max(1, round(min(grid) * border.width))
    mark[:, :, k:-k, k:-k] = 0
    return _mean_walk((border.walk,), evidence, mark)


def _mean_walk(walks: Iterable[Walk], evidence: Evidence, scores: Tensor) -> Tensor:
    """The mean over walks, each scaled to 0…1 per class: (B, C, h, w) on the finest grid."""
    walks = [
        replace(walk, block=name)
        for walk in walks
        for name in blocks_of(walk.block, evidence.assignments)
    ]
    chosen = [evidence.assignments[walk.block] for walk in walks]
    finest = max(one.grid for one in chosen)
    total = torch.zeros(*scores.shape[:2], *finest, device=scores.device)
    for walk, one in zip(walks, chosen, strict=True):
        carried = walk(resize(scores, one.grid).flatten(2), one.logits)
        total += walk.weight * resize(min_max(carried.unflatten(2, one.grid)), finest)
    return total / sum(walk.weight for walk in walks)
