"""Soft seeds: the classifier's scores of an image's tags, kept by stage 2 or made again."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.config import PseudoMasksConfig, RunConfig
from wsss.data.augment import normalise_pixels
from wsss.data.images import Sample
from wsss.engine.inference import (
    Autocast,
    Loaded,
    from_device,
    load,
    network_autocast,
    to_device,
)
from wsss.engine.profile import Stopwatch
from wsss.engine.runtime import Runtime
from wsss.files import names_below
from wsss.models.classifier import TagClassifier
from wsss.models.multiscale import observe, seed_size
from wsss.models.trained import load_classifier
from wsss.run.recipe import made_with
from wsss.run.state import Run
from wsss.seeding.indexing import index_tensor
from wsss.seeding.maps import score_maps
from wsss.seeding.masks import margins, seed_probabilities
from wsss.seeding.walks import Seeding


class SoftSeeds(NamedTuple):
    """Scores in 0…1 of an image's own tags; L of them.

    Attributes:
        labels: L mask values, class index + 1.
        cam: (L, h, w) float16, plain class activation.
        seed: (L, h, w) float16, class activation after the walk through the slots.
        likely: (L,), the classifier's probabilities.
    """

    labels: list[int]
    cam: Tensor
    seed: Tensor
    likely: Tensor = torch.empty(0)

    def above(
        self,
        scores: Tensor,
        background: float | str,
        size: tuple[int, ...],
        levels: Mapping[int, float] = {},
    ) -> Tensor:
        """How much each label stands out by its scores, (L, H, W): see `margins`.

        Args:
            scores: `cam` or `seed`.
            background: threshold, or the name of a rule.
            size: (H, W).
            levels: mask value of a class → its level.
        """
        own = [levels.get(label, 0.0) for label in self.labels]
        return margins(scores.float(), background, size, own)

    def save(self, path: Path) -> None:
        """Write them as .npz."""
        labels = np.array(self.labels, np.uint8)
        np.savez_compressed(
            path, labels=labels, cam=self.cam.cpu().numpy(), seed=self.seed.cpu().numpy()
        )

    @classmethod
    def load(cls, path: Path, labels: Sequence[int]) -> "SoftSeeds | None":
        """What `save` wrote of an image of these labels; None where it is missing or damaged."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as soft:
                found, cam, seed = (soft[name] for name in ("labels", "cam", "seed"))
        except Exception:  # a damaged archive makes its readers raise anything
            return None
        if found.tolist() != list(labels) or not (_is_whole(cam, found) and _is_whole(seed, found)):
            return None
        return cls(list(labels), torch.from_numpy(cam), torch.from_numpy(seed))


def _is_whole(scores: NDArray[Any], labels: NDArray[Any]) -> bool:
    """Whether an array holds scores of every label."""
    whole = scores.ndim == 3 and len(scores) == len(labels) and scores.dtype == np.float16
    return whole and bool(np.isfinite(scores).all())


@torch.inference_mode()
def soft_seeds(
    model: TagClassifier,
    pixels: Tensor,
    tags: Sequence[Sequence[int]],
    settings: PseudoMasksConfig,
    watch: Stopwatch,
    autocast: Autocast = nullcontext,
) -> list[SoftSeeds]:
    """Class activation and slot seeds of images over scales and flip.

    Args:
        model: classifier in eval mode.
        pixels: (B, 3, H, W) uint8 RGB, on the model's device.
        tags: class indices from 0, of each image.
        settings: scales, flip, walks.
        watch: of the time of network and walk.
        autocast: around the network alone.
    """
    mask = torch.zeros(len(tags), len(model.bias), dtype=torch.bool)
    for row, own in zip(mask, tags, strict=True):
        row[list(own)] = True
    size = seed_size(pixels.shape[-2], pixels.shape[-1])
    cam = seed = torch.zeros(*mask.shape, *size)
    likely = torch.zeros(mask.shape)
    if any(tags):
        with watch("network"), autocast():
            evidence = observe(model, normalise_pixels(pixels), settings.scales, settings.flip)
        with watch("cam"):
            cam = score_maps(evidence, mask, Seeding(), size)
        with watch("walk"):
            seed = score_maps(evidence, mask, settings.seeding, size)
        with watch("scores"):
            logits = torch.stack([one.logits for one in evidence]).mean(dim=0)
            # walks make 0 of what is not finite; here it shows
            likely = logits.masked_fill(~logits.isfinite(), torch.nan).sigmoid()
    indices = [index_tensor(own, cam.device) for own in tags]
    return [
        SoftSeeds(
            [tag + 1 for tag in own],
            cam[i].index_select(0, index).half(),
            seed[i].index_select(0, index).half(),
            likely[i].index_select(0, index),
        )
        for i, (own, index) in enumerate(zip(tags, indices, strict=True))
    ]


def seed_probs(
    soft: SoftSeeds,
    size: tuple[int, ...],
    settings: PseudoMasksConfig,
    background: bool = True,
    levels: Mapping[int, float] = {},
) -> Tensor:
    """Probabilities (L + 1, H, W) of background and an image's tags at its size (H, W).

    From the rounded scores that are kept, so that the masks follow from the files.

    Args:
        soft: of the image.
        size: (H, W).
        settings: threshold and slope.
        background: whether a pixel may be none of the tags.
        levels: mask value of a class → its level.
    """
    above = soft.above(soft.seed, settings.background, size, levels)
    return seed_probabilities(above, settings.sharpness, background)


class RunSeeds:
    """The soft seeds of a run's images: read where they are kept, else made by its classifier.

    They are those of the settings that its pseudo-masks were begun with.
    """

    def __init__(self, config: RunConfig, class_names: Sequence[str], runtime: Runtime) -> None:
        self.run, self.runtime = Run.of_round(config, 1), runtime
        self.max_side, self.class_names = config.data.max_side, class_names
        self.settings = made_with(self.run, config)

    def require(self, samples: Sequence[Sample]) -> None:
        """Refuse images whose seeds are not kept where there is no classifier to make them.

        Raises:
            WsssError: the classifier is not trained, or is of other classes.
        """
        kept = names_below(self.run.seeds, ".npz")
        if any(sample.id not in kept for sample in samples):
            self.run.require("train_cls")
            _ = self.classifier

    @cached_property
    def classifier(self) -> TagClassifier:
        """Of the run, in eval mode."""
        path = self.run.model("train_cls")
        return load_classifier(path, self.runtime.device, self.class_names)

    def __call__(self, sample: Sample) -> SoftSeeds:
        """The seeds of an image, on the CPU."""
        return self.of([self.read(sample)])[0]

    def read(self, sample: Sample) -> SoftSeeds | Loaded:
        """The seeds of an image where they are kept, else the image that they are made of."""
        kept = SoftSeeds.load(self.run.seed(sample.id), sample.labels)
        return load(sample, self.max_side) if kept is None else kept

    def of(self, given: Sequence[SoftSeeds | Loaded]) -> list[SoftSeeds]:
        """The seeds, on the CPU, of what `read` gave: all kept, or all images of one shape."""
        images = [one for one in given if isinstance(one, Loaded)]
        if not images:
            return [one for one in given if isinstance(one, SoftSeeds)]
        pixels = to_device([one.image for one in images], self.runtime.device)
        watch, autocast = Stopwatch(self.runtime.device), network_autocast(self.runtime)
        tags = [one.sample.tags for one in images]
        softs = soft_seeds(self.classifier, pixels, tags, self.settings, watch, autocast)
        cams = from_device([soft.cam for soft in softs])
        seeds = from_device([soft.seed for soft in softs])
        return [
            soft._replace(cam=cam, seed=seed)
            for soft, cam, seed in zip(softs, cams, seeds, strict=True)
        ]
