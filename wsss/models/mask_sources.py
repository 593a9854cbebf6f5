"""What pseudo-masks are made from: probabilities of an image's tags, by one network or the other.

In the first round they are seeds of the classifier, in a self-training round those of the former
round's segmenter, given the tags, times the seeds.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.config import RunConfig
from wsss.data.augment import normalise_pixels, resize_mask
from wsss.data.images import Sample
from wsss.data.mask_io import read_mask
from wsss.engine.inference import Loaded, load, network_autocast
from wsss.engine.profile import Stopwatch
from wsss.engine.runtime import Runtime
from wsss.labels import IGNORE_INDEX
from wsss.metrics.uncertainty import overlaps
from wsss.models.inference import View, predict_views
from wsss.models.multiscale import check_walks
from wsss.models.soft_seeds import SoftSeeds, seed_probs, soft_seeds
from wsss.models.trained import load_classifier, load_segmenter
from wsss.run.recipe import made_with
from wsss.run.state import Run, config_of_round
from wsss.seeding.indexing import best_channel, index_tensor
from wsss.seeding.masks import among_tags, at_true_rates, seed_mask, times_seeds


class Given(NamedTuple):
    """What is read of an image.

    Attributes:
        loaded: the image.
        former: (H, W) uint8, its mask of the former round, of the same size; None where there is
            none.
        soft: its seeds of the first round, where they are kept.
    """

    loaded: Loaded
    former: NDArray[np.uint8] | None = None
    soft: SoftSeeds | None = None


class Origin(NamedTuple):
    """What the mask of an image is made from.

    Attributes:
        labels: L mask values of its tags.
        probs: (L + 1, H, W), background first, each pixel summing to 1.
        soft: seeds of the first round.
        before: (2, L + 1), its `overlaps` with the plain CAM, or with the former round's mask; 0
            where there is none.
        likely: (L,), the classifier's probabilities of the tags; empty where it wasn't asked.
    """

    labels: list[int]
    probs: Tensor
    soft: SoftSeeds | None
    before: Tensor
    likely: Tensor


class FromSeeds:
    """Probabilities by the classifier: class activation → slots → seeds."""

    def __init__(
        self, config: RunConfig, class_names: tuple[str, ...], runtime: Runtime, watch: Stopwatch
    ) -> None:
        self.settings, self.max_side, self.watch = config.pseudo_masks, config.data.max_side, watch
        self.background = config.data.background
        self.levels = self.settings.levels_by_value(class_names)
        self.autocast = network_autocast(runtime)
        self.run = Run(config.run)
        self.model = load_classifier(self.run.model("train_cls"), runtime.device, class_names)
        check_walks(self.settings.seeding, self.model)

    def read(self, sample: Sample) -> Given:
        """What is read of an image."""
        return Given(load(sample, self.max_side))

    def __call__(self, batch: Sequence[Given], pixels: Tensor) -> list[Origin]:
        """Of images of one shape, whose `pixels` are (B, 3, H, W) uint8."""
        return [
            Origin(soft.labels, probs, soft, self._walked(soft), soft.likely)
            for soft, probs in self.seeds(batch, pixels)
        ]

    def seeds(self, batch: Sequence[Given], pixels: Tensor) -> list[tuple[SoftSeeds, Tensor]]:
        """Soft seeds, and probabilities (L + 1, H, W), of images of one shape."""
        kept = [one.soft for one in batch if one.soft is not None]
        softs = [soft._replace(seed=soft.seed.to(pixels.device)) for soft in kept]
        if len(softs) < len(batch):
            tags = [one.loaded.sample.tags for one in batch]
            softs = soft_seeds(self.model, pixels, tags, self.settings, self.watch, self.autocast)
        rules = tuple(pixels.shape[-2:]), self.settings, self.background, self.levels
        return [(soft, seed_probs(soft, *rules)) for soft in softs]

    def _walked(self, soft: SoftSeeds) -> Tensor:
        """What the walk changed: the overlaps of the plain CAM's hard seed with the seed's."""
        size, rule = tuple(soft.seed.shape[-2:]), self.settings.background
        values = torch.arange(1, len(soft.labels) + 1, device=soft.seed.device)
        cam, seed = (
            seed_mask(soft.above(scores, rule, size, self.levels), values, self.background)
            for scores in (soft.cam, soft.seed)
        )
        return overlaps(cam, seed, len(soft.labels))


class FromSegmenter:
    """Probabilities by the former round's segmenter, given the tags.

    It was trained on masks of many images, so it knows a class better than a single image's seeds
    do, and the tags forbid what it mistakes for another. The first round's seeds, which know the
    image's own slots, have a say again.
    """

    def __init__(
        self, config: RunConfig, class_names: tuple[str, ...], runtime: Runtime, watch: Stopwatch
    ) -> None:
        self.settings, self.max_side, self.watch = config.self_training, config.data.max_side, watch
        self.former = Run.of_round(config, config.round - 1)
        self.autocast = network_autocast(runtime)
        weights = self.former.model("train_seg")
        self.model, metadata = load_segmenter(weights, runtime.device, class_names)
        self.background_odds = float(metadata.get("background_odds", 1.0))
        self.first = None
        if self.settings.seeds:
            first = config_of_round(config, 1)
            made = made_with(Run(first.run), first)
            first = first.model_copy(update={"pseudo_masks": made})
            self.first = FromSeeds(first, class_names, runtime, watch)

    def read(self, sample: Sample) -> Given:
        """What is read of an image, which the former round may have left out."""
        loaded = load(sample, self.max_side)
        path, (height, width) = self.former.pseudo_mask(sample.id), loaded.image.shape[:2]
        former = resize_mask(read_mask(path), (height, width)) if path.is_file() else None
        if self.first is None:
            return Given(loaded, former)
        kept = SoftSeeds.load(self.first.run.seed(sample.id), sample.labels)
        return Given(loaded, former, kept)

    def __call__(self, batch: Sequence[Given], pixels: Tensor) -> list[Origin]:
        """Of images of one shape, whose `pixels` are (B, 3, H, W) uint8."""
        view = View(self.settings.scales, self.settings.flip)
        with self.watch("network"), self.autocast():
            (probs,) = predict_views(self.model, normalise_pixels(pixels), [view])
        origins = [self._origin(own, given) for own, given in zip(probs, batch, strict=True)]
        if self.first is None:
            return origins
        return [
            own._replace(probs=times_seeds(own.probs, probs, self.settings.seeds))
            for own, (_, probs) in zip(origins, self.first.seeds(batch, pixels), strict=True)
        ]

    def _origin(self, probs: Tensor, given: Given) -> Origin:
        labels = given.loaded.sample.labels
        probs = at_true_rates(among_tags(probs, labels), self.background_odds)
        unknown, unasked = probs.new_zeros(2, len(labels) + 1), probs.new_empty(0)
        if given.former is None:
            return Origin(labels, probs, None, unknown, unasked)
        old = torch.from_numpy(given.former).to(probs.device, non_blocking=True)
        channel = [IGNORE_INDEX] * 256
        for i, value in enumerate((0, *labels)):
            channel[value] = i
        known = index_tensor(channel, probs.device)[old.long()]
        before = overlaps(known, best_channel(probs), len(labels))
        return Origin(labels, probs, None, before, unasked)
