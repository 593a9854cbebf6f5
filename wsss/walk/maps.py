"""From what a classifier says of a picture to score maps, by the walks of a recipe."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from glmix.clustering import cluster_weights, dispatch_weights
from wsss.cam import fold_flip, merge_scales, resize
from wsss.walk.dense import dense_walk, resize_attention, token_transition
from wsss.walk.recipe import Border, Evidence, Seeding, Shape, Walk, blocks_of
from wsss.walk.slots import (
    attention_walk,
    confined_one_way_walk,
    confined_symmetric_walk,
    limit_walk,
    min_max,
    one_way_walk,
    sharpen,
    symmetric_walk,
)


def score_maps(evidence: Sequence[Evidence], seeding: Seeding, size: tuple[int, int]) -> Tensor:
    """Score maps of a picture over scales and flip.

    Args:
        evidence: at every scale.
        seeding: what to make of it.
        size: (H, W) of the maps.

    Returns:
        (C, H, W) in 0…1.
    """
    if seeding.silent_by_slots:
        loudest = torch.stack([one.cam.amax(dim=(0, 2, 3)) for one in evidence]).amax(dim=0)
        evidence = [hear_silent(one, loudest[None] <= 0) for one in evidence]
    maps = [fold_flip(walked(one, seeding)) for one in evidence]
    scores = min_max(merge_scales(maps, size)[None])
    if seeding.border is not None:
        frames = [fold_flip(border_map(one, seeding.border)) for one in evidence]
        scores = _lowered(scores, merge_scales(frames, size)[None], seeding.border)
    return scores[0]


def batch_maps(evidence: Evidence, seeding: Seeding) -> Tensor:
    """Score maps of B different pictures at one scale, (B, C, h, w) in 0…1, as in training."""
    if seeding.silent_by_slots:
        evidence = hear_silent(evidence, evidence.cam.amax(dim=(2, 3)) <= 0)
    scores = min_max(walked(evidence, seeding))
    if seeding.border is None:
        return scores
    frame = border_map(evidence, seeding.border)
    h, w = scores.shape[-2:]
    return _lowered(scores, resize(frame, (h, w)), seeding.border)


def _lowered(scores: Tensor, reached: Tensor, border: Border) -> Tensor:
    return min_max(scores * (1 - border.weight * min_max(reached)))


def walked(evidence: Evidence, seeding: Seeding) -> Tensor:
    """Evidence after walks, averaged; every walk runs on its block's own grid.

    Returns:
        (B, C, h, w): in 0…1 on the finest grid among the blocks; without walks the evidence itself,
        non-negative.
    """
    scores = _mix(evidence, seeding.slot_map)
    if not seeding.walks:
        return scores
    share = seeding.confine
    if share is None:
        return _mean_walk(seeding.walks, evidence, scores)
    return _mean_walk(
        seeding.walks,
        evidence,
        scores,
        lambda grid: confident_region(evidence.cam, grid, share, seeding.confine_to),
    )


def border_map(evidence: Evidence, border: Border) -> Tensor:
    """What a walk from the border reaches, (B, 1, h, w) in 0…1 on the finest grid of its blocks."""
    grid = max(_grid(walk, evidence) for walk in _expand(border.walk, evidence))
    mark = torch.ones(len(evidence.cam), 1, *grid, device=evidence.cam.device)
    k = max(1, round(min(grid) * border.width))
    mark[:, :, k:-k, k:-k] = 0
    return _mean_walk((border.walk,), evidence, mark)


def _mean_walk(
    walks: Iterable[Walk],
    evidence: Evidence,
    scores: Tensor,
    region: Callable[[tuple[int, int]], Tensor] | None = None,
) -> Tensor:
    """The mean over walks, each scaled to 0…1 a class: (B, C, h, w) on the finest grid."""
    walks = [one for walk in walks for one in _expand(walk, evidence)]
    grids = [_grid(walk, evidence) for walk in walks]
    finest = max(grids)
    total = torch.zeros(*scores.shape[:2], *finest, device=scores.device)
    for walk, grid in zip(walks, grids, strict=True):
        held = None if region is None else region(grid)
        carried = _carry(walk, evidence, resize(scores, grid).flatten(2), held)
        total += walk.weight * resize(min_max(carried.unflatten(2, grid)), finest)
    return total / sum(walk.weight for walk in walks)


def slot_map(evidence: Evidence) -> Tensor:
    """What the auxiliary head says of the slots, dispatched: P·σ(score), (B, C, h, w) in 0…1."""
    chosen = evidence.assignments[evidence.slot_block]
    scores = evidence.slot_scores.float().sigmoid()
    tokens = dispatch_weights(chosen.logits.float()) @ scores
    return tokens.transpose(1, 2).unflatten(2, chosen.grid)


def hear_silent(evidence: Evidence, silent: Tensor) -> Evidence:
    """Evidence in which silent classes speak through the slots.

    Args:
        evidence: of B pictures.
        silent: (B, C) or (1, C) of bool, the classes whose class activation is replaced by what of
            `slot_map` is above its mean.
    """
    own = slot_map(evidence)
    above = (own - own.mean(dim=(2, 3), keepdim=True)).relu()
    h, w = evidence.cam.shape[-2:]
    cam = torch.where(silent[..., None, None], resize(above, (h, w)), evidence.cam)
    return evidence._replace(cam=cam)


def confident_region(cam: Tensor, grid: tuple[int, int], share: float, shape: Shape) -> Tensor:
    """Where class activation reaches a share of its highest, or the box that holds all of that.

    Args:
        cam: (B, C, h, w), non-negative.
        grid: of the region.
        share: of the way from a class's lowest to its highest value, in (0, 1).
        shape: `mask` or `box`.

    Returns:
        (B, C, N) of 0 and 1.
    """
    confident = min_max(resize(cam, grid)) >= share
    if shape == "box":
        rows, columns = confident.any(dim=3), confident.any(dim=2)
        confident = _between(rows)[..., :, None] & _between(columns)[..., None, :]
    return confident.flatten(2).to(cam.dtype)


def _between(marks: Tensor) -> Tensor:
    """True from the first to the last True of the last axis."""
    begun = marks.cumsum(-1) > 0
    left = marks.flip(-1).cumsum(-1).flip(-1) > 0
    return begun & left


def _mix(evidence: Evidence, share: float) -> Tensor:
    if share == 0:
        return evidence.cam
    own = slot_map(evidence)
    if share == 1:
        return own
    cam = resize(evidence.cam, (own.shape[-2], own.shape[-1]))
    return (1 - share) * min_max(cam) + share * min_max(own)


def _expand(walk: Walk, evidence: Evidence) -> list[Walk]:
    if walk.kind == "tokens":
        return [walk]
    return [replace(walk, block=name) for name in blocks_of(walk.block, evidence.assignments)]


def _grid(walk: Walk, evidence: Evidence) -> tuple[int, int]:
    if walk.kind == "tokens":
        h, w = evidence.features[2].shape[-2:]
        return h, w
    return evidence.assignments[walk.block].grid


def _carry(walk: Walk, evidence: Evidence, scores: Tensor, region: Tensor | None) -> Tensor:
    """One walk on its grid: (B, C, N) → (B, C, N)."""
    if walk.kind == "tokens":
        return dense_walk(scores, _tokens(walk, evidence), walk.steps)
    chosen = evidence.assignments[walk.block].logits.float()
    logits = sharpen(chosen, walk.temperature, walk.top_k)
    dispatch = dispatch_weights(logits)
    if walk.kind == "symmetric":
        if region is not None:
            return confined_symmetric_walk(scores, dispatch, region, walk.steps)
        return symmetric_walk(scores, dispatch, walk.steps)
    if walk.kind == "limit":
        assert walk.alpha is not None
        return limit_walk(scores, dispatch, walk.alpha)
    cluster = cluster_weights(logits)
    if walk.kind == "attention":
        among = evidence.attention[walk.block].float()
        return attention_walk(scores, cluster, dispatch, among, walk.steps)
    if region is not None:
        return confined_one_way_walk(scores, cluster, dispatch, region, walk.steps)
    return one_way_walk(scores, cluster, dispatch, walk.steps)


def _tokens(walk: Walk, evidence: Evidence) -> Tensor:
    """The transition of token attention at stride 16."""
    grids = {int(4 * 2**i): (f.shape[-2], f.shape[-1]) for i, f in enumerate(evidence.features)}
    among_tokens = [n for n in evidence.attention if n not in evidence.assignments]
    names = [n for n in blocks_of(walk.block, among_tokens) if n.startswith(("16.", "32."))]
    return token_transition(
        [
            resize_attention(evidence.attention[n].float(), grids[int(n.split(".")[0])], grids[16])
            for n in names
        ]
    )
