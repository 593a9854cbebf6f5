"""Stage 2: pictures + tags + classifier → soft seeds → CRF → pseudo-masks.

Reads `train_cls/model.safetensors`; writes `seeds/<id>.npz` and `pseudo_masks/<id>.png`, and
`confidence/<id>.png` where asked. Each picture by itself, so that a killed stage goes on where it
was and shards share the work.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss import seeds
from wsss.config import PseudoMasksConfig, RunConfig
from wsss.crf import DenseCRF
from wsss.data.class_names import write_class_names
from wsss.data.confidence import harden, write_confidence
from wsss.data.sources import open_stage
from wsss.data.tags import Picture, read_image
from wsss.data.transforms import limit_side, resize_mask
from wsss.engine.checkpoint import load_trained
from wsss.engine.mask_making import make_masks
from wsss.engine.runtime import start
from wsss.engine.timing import Stopwatch
from wsss.models.classifier import TagClassifier, build_classifier
from wsss.models.evidence import check_walks, needs_attention, observe, seed_size, seeding_of
from wsss.run_dir import RunDir, write_atomic
from wsss.voc import IGNORE_INDEX, write_mask
from wsss.walk import Seeding, score_maps


class SoftSeeds(NamedTuple):
    """Scores in 0…1 of a picture's own tags; L of them.

    Attributes:
        labels: (L,) mask values, class index + 1.
        cam: (L, h, w) float16, plain class activation.
        seed: (L, h, w) float16, class activation after the walk through the slots.
    """

    labels: NDArray[np.uint8]
    cam: NDArray[np.float16]
    seed: NDArray[np.float16]


def run(config: RunConfig, overwrite: bool = False, shard: tuple[int, int] = (0, 1)) -> Path:
    """Make the pseudo-masks of a run, or the rest of them; returns their folder.

    Args:
        config: of the run.
        overwrite: make all of them anew.
        shard: (i, n) takes every n-th picture, from the i-th.
    """
    data, digests = open_stage(config.data, config.seed, "pseudo_masks")
    run_dir = RunDir.create(config, digests, again="pseudo_masks" if overwrite else None)
    folder = run_dir.stage("pseudo_masks")
    if run_dir.finished("pseudo_masks") and not overwrite:
        return folder
    run_dir.require("train_cls")
    runtime = start(config.runtime, config.seed)
    pictures, weights = data.pictures, run_dir.model("train_cls")
    model, _ = load_trained(
        weights, "classifier", build_classifier, runtime.device, data.class_names
    )
    crf = make_crf(config.pseudo_masks)
    check_walks(seeding_of(config.pseudo_masks), model)
    run_dir.begin("pseudo_masks", config, overwrite)
    write_class_names(folder, data.class_names)
    settings, watch = config.pseudo_masks, Stopwatch(runtime.device)

    def make(picture: Picture) -> None:
        whole = read_image(picture.path)
        image, size = limit_side(whole, config.data.max_side), whole.shape[:2]
        soft = soft_seeds(model, image, picture.tags, settings, watch)
        mask, sure = pseudo_mask(image, soft, settings, crf, watch)
        write_atomic(run_dir.seed(picture.id), lambda path: _save(path, soft))
        if settings.save_confidence:
            write_confidence(run_dir.confidence(picture.id), sure, size)
        write_mask(run_dir.pseudo_mask(picture.id), resize_mask(mask, size))

    beside = [run_dir.seed, *([run_dir.confidence] if settings.save_confidence else [])]
    make_masks(run_dir, pictures, make, beside, overwrite, shard, watch)
    return folder


def make_crf(settings: PseudoMasksConfig) -> DenseCRF | None:
    """The CRF that a config asks for, or none."""
    if settings.crf == "none":
        return None
    backend = settings.crf_backend
    return DenseCRF(settings.crf, backend=backend, iterations=settings.crf_iterations)


def soft_seeds(
    model: TagClassifier,
    image: NDArray[np.uint8],
    tags: tuple[int, ...],
    settings: PseudoMasksConfig,
    watch: Stopwatch,
) -> SoftSeeds:
    """Class activation and slot seeds of a picture over scales and flip.

    Args:
        model: classifier in eval mode.
        image: (H, W, 3) uint8 RGB.
        tags: class indices from 0.
        settings: scales, flip, walks.
        watch: of the time of network and walk.
    """
    size = seed_size(image)
    labels = np.array([tag + 1 for tag in tags], np.uint8)
    if not tags:
        empty = np.zeros((0, *size), np.float16)
        return SoftSeeds(labels, empty, empty)
    seeding = seeding_of(settings)
    with watch("network"):
        evidence = observe(
            model, image, tags, settings.scales, settings.flip, needs_attention(seeding)
        )
    with watch("cam"):
        plain = score_maps(evidence, Seeding(), size)
    with watch("walk"):
        walked = score_maps(evidence, seeding, size)
    return SoftSeeds(labels, _compact(plain), _compact(walked))


def _compact(maps: Tensor) -> NDArray[np.float16]:
    return maps.cpu().numpy().astype(np.float16)


def marginals(
    image: NDArray[np.uint8],
    soft: SoftSeeds,
    settings: PseudoMasksConfig,
    crf: DenseCRF | None,
    watch: Stopwatch,
    shift: float = 0.0,
) -> Tensor:
    """Seeds, refined by the CRF over the picture's own labels.

    Args:
        image: (H, W, 3) uint8 RGB.
        soft: its seeds.
        settings: threshold and slope.
        crf: refines, or nothing does.
        watch: counts its time as `crf`.
        shift: added to every threshold.

    Returns:
        (L + 1, H, W), background first, each pixel summing to 1.
    """
    if len(soft.labels) == 0:
        return torch.ones(1, *image.shape[:2], device=watch.device)
    scores = torch.from_numpy(soft.seed).to(watch.device).float()
    margins = seeds.margins(scores, settings.background, image.shape[:2]) - shift
    probs = seeds.seed_probabilities(margins, settings.sharpness)
    if crf is not None:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(watch.device)
        with watch("crf"):
            probs = crf(pixels, probs[None])[0]
    return probs


def pseudo_mask(
    image: NDArray[np.uint8],
    soft: SoftSeeds,
    settings: PseudoMasksConfig,
    crf: DenseCRF | None,
    watch: Stopwatch,
) -> tuple[NDArray[np.uint8], Tensor]:
    """The mask of a picture, and the marginals that it is made of (with a band: the strict ones).

    Returns:
        (H, W) uint8: a class index, or 255 where the best marginal is below the confidence or the
        two thresholds of a band differ; (L + 1, H, W) marginals, background first.
    """

    def decide(shift: float) -> tuple[Tensor, Tensor]:
        probs = marginals(image, soft, settings, crf, watch, shift)
        return torch.from_numpy(harden(probs, soft.labels.tolist(), settings.confidence)), probs

    mask, probs = decide(settings.band)
    if settings.band:
        mask = seeds.within_band(mask, decide(-settings.band)[0], IGNORE_INDEX)
    return mask.numpy(), probs


def _save(path: Path, soft: SoftSeeds) -> None:
    np.savez_compressed(path, **soft._asdict())
