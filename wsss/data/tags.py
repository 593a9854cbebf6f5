"""Training crops with image-level tags: all that training from tags may see.

Nothing here knows where a mask is stored or how to open one.
"""

from dataclasses import KW_ONLY, dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from wsss.data import augment
from wsss.data.images import TaggedDataset, read_image


@dataclass(frozen=True, eq=False)
class TagTrainingSet(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Augmented crops with tags.

    The augmentation of a sample follows from (seed, epoch, index) alone, whichever worker makes it
    and in whatever order, so a training that was killed resumes exactly where it stopped.

    Attributes:
        tagged: what to train on.
        size: side of the square crops.
        seed: of the augmentation.
        scale: range of a crop's share of the image's area.
        flip: mirror every other sample.
        jitter: strength of the colour jitter; 0 = none.
        max_side: larger images are reduced to this long side first.
    """

    tagged: TaggedDataset
    size: int
    seed: int
    _: KW_ONLY
    scale: tuple[float, float] = (0.5, 1.0)
    flip: bool = True
    jitter: float = 1.0
    max_side: int | None = None

    def __len__(self) -> int:
        return len(self.tagged)

    def __getitem__(self, index: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """(epoch, index) → image (3, size, size) uint8, tags (C,) of 0 and 1."""
        epoch, i = index
        rng = np.random.default_rng((self.seed, epoch, i))
        image = augment.limit_side(read_image(self.tagged.samples[i].path), self.max_side)
        image = augment.random_resized_crop(image, self.size, rng, self.scale)
        if self.flip and augment.random_flip(rng):
            image = augment.mirror(image)
        image = augment.colour_jitter(image, rng, self.jitter)
        tags = torch.zeros(len(self.tagged.class_names))
        tags[list(self.tagged.samples[i].tags)] = 1
        return augment.as_pixels(image), tags
