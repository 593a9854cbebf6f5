"""Features of whole images, kept on disk while the heads of a classifier are trained on them.

Nothing here knows where a mask is stored or how to open one.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.utils.data import Dataset

from wsss.data.images import TaggedDataset
from wsss.errors import WsssError, first_line
from wsss.files import write_atomic


class Features(NamedTuple):
    """What the heads of a classifier need of an image.

    Attributes:
        third: (D₃, h, w), features of stage 3.
        deep: (D₄, h/2, w/2), features of stage 4 after the backbone's last norm.
        slots: (K, D₃), features of stage 3, gathered in the slots of a block.
    """

    third: Tensor
    deep: Tensor
    slots: Tensor

    def save(self, path: Path) -> None:
        """Write them in half precision, atomically."""
        tensors = {name: one.half().contiguous() for name, one in self._asdict().items()}
        write_atomic(path, lambda target: target.write_bytes(save(tensors)))

    @classmethod
    def load(cls, path: Path) -> "Features":
        """What `save` wrote.

        Raises:
            WsssError: the file is missing or damaged.
        """
        try:
            return cls(**load(path.read_bytes()))
        except Exception as error:  # a damaged file makes its readers raise anything
            raise WsssError(
                f"{path} can't be read as features ({first_line(error)[:120]}): delete it and "
                "start the command again, which computes it anew."
            ) from None


class FeatureSet(Dataset[tuple[Features, Tensor]]):
    """Features of images with their tags."""

    def __init__(self, tagged: TaggedDataset, file: Callable[[str], Path]) -> None:
        """Sets up the features.

        Args:
            tagged: what to train on.
            file: of the image with an id.
        """
        self.tagged, self.file = tagged, file
        self._tags = torch.from_numpy(tagged.tag_matrix())

    def __len__(self) -> int:
        return len(self.tagged)

    def __getitem__(self, index: tuple[int, int]) -> tuple[Features, Tensor]:
        """(epoch, index) → features, the same in every epoch, and tags (C,) of 0 and 1."""
        _, i = index
        return Features.load(self.file(self.tagged.samples[i].id)), self._tags[i]


def by_shape(samples: Iterable[tuple[Features, Tensor]]) -> list[Tensor]:
    """A batch of features of images of any sizes: those of one size together.

    Returns:
        third, deep and slots of every size, one size after the other, and the tags (B, C) of all
        in that order.
    """
    groups: dict[torch.Size, list[tuple[Features, Tensor]]] = defaultdict(list)
    for features, tags in samples:
        groups[features.third.shape].append((features, tags))
    stacked = [
        torch.stack(parts)
        for group in groups.values()
        for parts in zip(*(features for features, _ in group), strict=True)
    ]
    return [*stacked, torch.stack([tags for group in groups.values() for _, tags in group])]
