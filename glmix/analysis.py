"""What the slots of a block do, in numbers: how sharply they assign, whether they group objects.

Pure functions on one image. A slot's territory is the set of tokens that give it more weight than
they give any other slot.
"""

from math import log
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from glmix.clustering import SlotAssignment, cluster_weights, dispatch_weights


class Sharpness(NamedTuple):
    """How sharply a block assigns.

    Attributes:
        dispatch_entropy: of a token's choice among slots, over log K: 0 hard, 1 uniform.
        cluster_entropy: of what a slot gathers, over log N: 0 one token, 1 uniform.
        used: slots that have a territory.
        effective: exp of the entropy of the slots' shares of all weight, 1 to K.
    """

    dispatch_entropy: float
    cluster_entropy: float
    used: int
    effective: float


def sharpness(assignment: SlotAssignment, index: int = 0) -> Sharpness:
    """Entropies and slots in use.

    Args:
        assignment: of a block, with two slots and two tokens at least.
        index: of the image in its batch.
    """
    logits = assignment.logits[index].detach().float().cpu()
    slots, tokens = logits.shape
    dispatch, cluster = dispatch_weights(logits), cluster_weights(logits)
    shares = dispatch.mean(dim=0)
    return Sharpness(
        dispatch_entropy=_entropy(dispatch).mean().item() / log(slots),
        cluster_entropy=_entropy(cluster).mean().item() / log(tokens),
        used=int(logits.argmax(dim=0).unique().numel()),
        effective=_entropy(shares).exp().item(),
    )


def territories(assignment: SlotAssignment, size: tuple[int, int], index: int = 0) -> Tensor:
    """The slot whose territory each pixel lies in.

    Args:
        assignment: of a block.
        size: (H, W) of the image; territories are enlarged to it, nearest token.
        index: of the image in its batch.

    Returns:
        (H, W) int64 in 0 to K−1.
    """
    winner = assignment.logits[index].detach().argmax(dim=0).cpu().view(1, 1, *assignment.grid)
    return F.interpolate(winner.float(), size=size, mode="nearest-exact")[0, 0].long()


class Agreement(NamedTuple):
    """How far a partition follows a mask.

    Attributes:
        purity: share of pixels that have the commonest label of their part.
        best_iou: for each label but 0 of the mask, the IoU of the part that fits it best.
        labelled: (H, W) int64, every part painted with its commonest label: the best mask that
            whole parts can make, as far as pixels are counted.
    """

    purity: float
    best_iou: dict[int, float]
    labelled: Tensor


def agreement(partition: Tensor, mask: Tensor, ignore: int = 255) -> Agreement:
    """Compares a partition of an image with its mask.

    Args:
        partition: (H, W) int64, from 0.
        mask: (H, W) integers, 0 background; `ignore` is left out.
        ignore: label of pixels that count for nothing.

    Raises:
        ValueError: if no pixel counts, or the sizes differ.
    """
    if partition.shape != mask.shape:
        raise ValueError(
            f"The partition is {tuple(partition.shape)}, the mask {tuple(mask.shape)}."
        )
    counts_for = mask != ignore
    parts, labels = partition[counts_for], mask[counts_for].long()
    if not len(labels):
        raise ValueError("The mask has no pixel that counts.")
    shape = (int(partition.max()) + 1, int(labels.max()) + 1)
    table = (parts * shape[1] + labels).bincount(minlength=shape[0] * shape[1]).view(shape)
    union = table.sum(1, keepdim=True) + table.sum(0, keepdim=True) - table
    iou = table / union.clamp(min=1)
    present = [label for label in labels.unique().tolist() if label]
    return Agreement(
        purity=table.amax(dim=1).sum().item() / len(labels),
        best_iou={label: iou[:, label].max().item() for label in present},
        labelled=table.argmax(dim=1)[partition],
    )


def regrown(spread: Tensor, region: Tensor) -> float:
    """How much of an object a walk finds again from a part of it.

    Args:
        spread: (N,), non-negative, what the walk made of the part.
        region: (N,) bool, the whole object.

    Returns:
        The best IoU of `spread` ≥ a threshold with the region, thresholds 0.05 to 0.95 of the
        maximum: how good a seed could be, not how good one is.
    """
    levels = torch.arange(0.05, 1, 0.05) * spread.max()
    found = spread >= levels[:, None]
    both = (found & region).sum(dim=1)
    either = (found | region).sum(dim=1)
    return (both / either.clamp(min=1)).max().item()


def part_of(region: Tensor, grid: tuple[int, int], share: float = 0.2) -> Tensor:
    """The tokens of a region nearest to the one that lies nearest to its middle.

    Args:
        region: (N,) bool, not empty.
        grid: (h, w), h·w = N.
        share: of the region's tokens to keep; one at least.

    Returns:
        (N,) bool.
    """
    rows = torch.arange(grid[0]).repeat_interleave(grid[1])
    tokens = torch.stack([rows, torch.arange(grid[1]).repeat(grid[0])], dim=1).float()
    inside = region.nonzero()[:, 0]
    middle = (tokens[inside] - tokens[inside].mean(dim=0)).square().sum(dim=1).argmin()
    distance = (tokens[inside] - tokens[inside[middle]]).square().sum(dim=1)
    kept = inside[distance.argsort(stable=True)[: max(1, round(share * len(inside)))]]
    part = torch.zeros_like(region)
    part[kept] = True
    return part


def regular_partition(size: tuple[int, int], slot_grid: tuple[int, int] = (8, 8)) -> Tensor:
    """Equal rectangles, (H, W) int64: what slots know that know nothing but where they are."""
    rows = torch.arange(size[0]) * slot_grid[0] // size[0]
    columns = torch.arange(size[1]) * slot_grid[1] // size[1]
    return rows[:, None] * slot_grid[1] + columns


def _entropy(probs: Tensor) -> Tensor:
    return -(probs * probs.clamp(min=1e-12).log()).sum(dim=-1)
