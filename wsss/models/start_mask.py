"""A mask that a person corrects, in place of the one that the seeds make."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.data.augment import resize_mask
from wsss.labels import IGNORE_INDEX

STRENGTH = 0.25
"""Logits of what a start says, as a share of those that a click asks for."""


class Answer(NamedTuple):
    """What all that was said comes to, in pixels of the computed size.

    Attributes:
        mask: (H, W) uint8.
        likeliest: (H, W) uint8 labels before the CRF, where there is a start.
        sure: (H, W) bool, where somebody said the label itself.
    """

    mask: NDArray[np.uint8]
    likeliest: NDArray[np.uint8]
    sure: NDArray[np.bool_]


class Start(NamedTuple):
    """The mask, and where the seeds make another one.

    Attributes:
        mask: (H, W) uint8 of the full-size image.
        foreign: its labels that are no tags of the image, ascending.
        labels: its labels and the tags, ascending.
        shown: (h, w) uint8, the mask on the grid of the seeds.
        differs: (h, w) bool.
    """

    mask: NDArray[np.uint8]
    foreign: tuple[int, ...]
    labels: tuple[int, ...]
    shown: Tensor
    differs: Tensor

    def margin(self, label: int, labels: Sequence[int], asked: float, seeds: Tensor) -> Tensor:
        """Score − threshold of a label: the seeds', or where they differ what the mask says.

        Args:
            label: mask value.
            labels: that compete; what the mask says of others counts nowhere.
            asked: margin of a label over background where the mask holds it.
            seeds: (h, w), the margin by the seeds.

        Returns:
            (h, w).
        """
        if label not in self.labels:  # a tag that was added: it has seeds alone
            return seeds
        said = asked * ((self.shown == label).float() - (self.shown == 0).float())
        values = torch.tensor([0, IGNORE_INDEX, *labels], device=seeds.device)
        return torch.where(self.differs & torch.isin(self.shown, values), said, seeds)

    def changed(self, before: Answer, after: Answer, removed: Collection[int]) -> NDArray[np.uint8]:
        """The mask, but for what was said since.

        Args:
            before: answer when nothing is said.
            after: answer to what is said.
            removed: labels that are gone.

        Returns:
            (H, W) uint8 of the full-size image.
        """
        same = (after.mask == before.mask) & (after.likeliest == before.likeliest) & ~after.sure
        kept = resize_mask(same.astype(np.uint8), self.size) > 0
        kept &= ~np.isin(self.mask, list(removed))
        return np.where(kept, self.mask, resize_mask(after.mask, self.size))

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the full-size image."""
        return self.mask.shape[0], self.mask.shape[1]


def start_from(
    mask: NDArray[np.uint8],
    seeds: NDArray[np.uint8],
    tags: Sequence[int],
    grid: tuple[int, int],
    device: torch.device,
) -> Start | None:
    """A mask to start from; None where the seeds make the same.

    Args:
        mask: (H, W) uint8 of the full-size image.
        seeds: (H, W) uint8, what the seeds make of it.
        tags: class indices from 0.
        grid: of the seeds.
        device: where to compute.
    """
    if np.array_equal(mask, seeds):
        return None
    shown = torch.from_numpy(resize_mask(mask, grid)).to(device)
    differs = shown != torch.from_numpy(resize_mask(seeds, grid)).to(device)
    own = {tag + 1 for tag in tags}
    foreign = set(np.unique(mask).tolist()) - {0, IGNORE_INDEX} - own
    return Start(mask, tuple(sorted(foreign)), tuple(sorted(own | foreign)), shown, differs)
