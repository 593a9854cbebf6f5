"""Stage 2: images + tags → probabilities of each image's labels → CRF → pseudo-masks.

In the first round the probabilities are seeds of the classifier, `train_cls/model.safetensors`,
which are kept in `seeds/<id>.npz`; in a self-training round they are those of the former round's
segmenter, `train_seg/model.safetensors`. Writes `pseudo_masks/<id>.png`. Each image by itself, so
that a killed stage resumes where it stopped and shards share the work.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.config import PseudoMasksConfig, RunConfig
from wsss.crf import DenseCRF, make_crf
from wsss.data.augment import limit_side, normalise, resize_mask
from wsss.data.images import Sample, read_image
from wsss.data.mask_io import read_mask, write_class_names, write_mask
from wsss.data.open import open_stage
from wsss.engine.checkpoint import load_trained
from wsss.engine.inference import make_masks
from wsss.engine.profile import Stopwatch
from wsss.engine.runtime import Runtime, require_one_process, start
from wsss.files import write_atomic
from wsss.models.classifier import TagClassifier, build_classifier
from wsss.models.multiscale import check_walks, observe, seed_size
from wsss.models.segmenter import build_segmenter, predict_probs
from wsss.run.state import Run, Work
from wsss.seeding.maps import score_maps
from wsss.seeding.masks import among_tags, harden, margins, mix_in, refine, seed_probabilities
from wsss.seeding.walks import Seeding

Image = NDArray[np.uint8]


def run(
    config: RunConfig,
    overwrite: bool = False,
    shard: tuple[int, int] = (0, 1),
    recomputed: str | None = None,
) -> Path:
    """Make the pseudo-masks of a run's round, or the rest of them; returns their folder.

    Args:
        config: of the round.
        overwrite: recompute all of them.
        shard: (i, n) takes every n-th image, from the i-th.
        recomputed: the first stage that is going to be recomputed, whose settings may differ.
    """
    first = config.round == 1
    if not first:
        _require_former(config)
    data, digests = open_stage(config.data, config.seed, "pseudo_masks")
    work = Work(config, "pseudo_masks", digests, overwrite, recomputed)
    folder = work.run.stage("pseudo_masks")
    if not work.needed:
        return folder
    if first:
        work.run.require("train_cls")
    else:
        require_one_process()
    runtime = start(config.runtime, config.seed)
    watch = Stopwatch(runtime.device)
    crf, confidence = _crf_and_confidence(config)
    source = (FromSeeds if first else FromSegmenter)(config, data.class_names, runtime, watch)
    work.begin()
    write_class_names(folder, data.class_names)

    @torch.inference_mode()
    def make(sample: Sample) -> None:
        whole = read_image(sample.path)
        image = limit_side(whole, config.data.max_side)
        probs = source(sample, image)
        pixels = torch.from_numpy(image).permute(2, 0, 1).to(runtime.device)
        with watch("crf"):
            (probs,) = refine([pixels], [probs], crf)
        mask = harden(probs, [tag + 1 for tag in sample.tags], confidence).cpu().numpy()
        write_mask(work.run.pseudo_mask(sample.id), resize_mask(mask, whole.shape[:2]))

    beside = [work.run.seed] if first else []
    make_masks(work, data.samples, make, beside, shard, watch)
    return folder


def _require_former(config: RunConfig) -> None:
    option = f" --round {config.round - 1}" if config.round > 2 else ""
    Run.of_round(config, config.round - 1).require("train_seg", option)


def _crf_and_confidence(config: RunConfig) -> tuple[DenseCRF | None, float]:
    if config.round == 1:
        own = config.pseudo_masks
        return make_crf(own.crf, own.crf_iterations, own.crf_backend), own.confidence
    later = config.self_training
    return make_crf(later.crf, later.crf_iterations), later.confidence


class FromSeeds:
    """Probabilities by the classifier: class activation → slots → seeds, which are kept.

    Called with an image's record and its pixels (H, W, 3), returns (L + 1, H, W), background first,
    each pixel summing to 1; L of the image's own tags.
    """

    def __init__(
        self, config: RunConfig, class_names: tuple[str, ...], runtime: Runtime, watch: Stopwatch
    ) -> None:
        self.run, self.settings, self.watch = Run(config.run), config.pseudo_masks, watch
        weights, self.device = self.run.model("train_cls"), runtime.device
        self.model, _ = load_trained(
            weights, "classifier", build_classifier, runtime.device, class_names
        )
        check_walks(self.settings.seeding, self.model)

    def __call__(self, sample: Sample, image: Image) -> Tensor:
        """(L + 1, H, W) of an image (H, W, 3) uint8, whose seeds are written."""
        soft = soft_seeds(self.model, image, sample.tags, self.settings, self.watch)
        write_atomic(
            self.run.seed(sample.id), lambda path: np.savez_compressed(path, **soft._asdict())
        )
        # from what is kept, so that the masks follow from the files
        return seed_probs(soft, image.shape[:2], self.settings, self.device)


class SoftSeeds(NamedTuple):
    """Scores in 0…1 of an image's own tags; L of them.

    Attributes:
        labels: (L,) mask values, class index + 1.
        cam: (L, h, w) float16, plain class activation.
        seed: (L, h, w) float16, class activation after the walk through the slots.
    """

    labels: NDArray[np.uint8]
    cam: NDArray[np.float16]
    seed: NDArray[np.float16]


def soft_seeds(
    model: TagClassifier,
    image: Image,
    tags: Sequence[int],
    settings: PseudoMasksConfig,
    watch: Stopwatch,
) -> SoftSeeds:
    """Class activation and slot seeds of an image over scales and flip.

    Args:
        model: classifier in eval mode.
        image: (H, W, 3) uint8 RGB.
        tags: class indices from 0.
        settings: scales, flip, walks.
        watch: of the time of network and walk.
    """
    own, size = list(tags), seed_size(*image.shape[:2])
    labels = np.array([tag + 1 for tag in own], np.uint8)
    if not own:
        empty = np.zeros((0, *size), np.float16)
        return SoftSeeds(labels, empty, empty)
    device = model.bias.device
    mask = torch.zeros(1, len(model.bias), dtype=torch.bool, device=device)
    mask[0, own] = True
    with watch("network"):
        images = normalise(image)[None].to(device)
        evidence = observe(model, images, settings.scales, settings.flip)
    with watch("cam"):
        cam = score_maps(evidence, mask, Seeding(), size)
    with watch("walk"):
        seed = score_maps(evidence, mask, settings.seeding, size)
    return SoftSeeds(
        labels, *(maps[0, own].cpu().numpy().astype(np.float16) for maps in (cam, seed))
    )


def seed_probs(
    soft: SoftSeeds, size: tuple[int, ...], settings: PseudoMasksConfig, device: torch.device
) -> Tensor:
    """Probabilities (L + 1, H, W) of background and an image's tags at its size (H, W)."""
    scores = torch.from_numpy(soft.seed).to(device).float()
    return seed_probabilities(margins(scores, settings.background, size), settings.sharpness)


class FromSegmenter:
    """Probabilities by the former round's segmenter, given the tags; called as `FromSeeds`.

    It was trained on masks of many images, so it knows a class better than a single image's seeds
    do, and the tags forbid what it mistakes for another.
    """

    def __init__(
        self, config: RunConfig, class_names: tuple[str, ...], runtime: Runtime, watch: Stopwatch
    ) -> None:
        self.former = Run.of_round(config, config.round - 1)
        self.settings, self.watch, self.device = config.self_training, watch, runtime.device
        weights = self.former.model("train_seg")
        self.model, _ = load_trained(
            weights, "segmenter", build_segmenter, runtime.device, class_names
        )

    def __call__(self, sample: Sample, image: Image) -> Tensor:
        """(L + 1, H, W) of an image (H, W, 3) uint8."""
        labels = [tag + 1 for tag in sample.tags]
        with self.watch("network"):
            images = normalise(image)[None].to(self.device)
            probs = predict_probs(self.model, images, self.settings.scales, self.settings.flip)
        own = among_tags(probs, labels)
        path = self.former.pseudo_mask(sample.id)
        # a round may take images that the former left out
        if self.settings.former_masks > 0 and path.is_file():
            old = torch.from_numpy(resize_mask(read_mask(path), image.shape[:2])).to(self.device)
            own = mix_in(own, old, labels, self.settings.former_masks)
        return own
