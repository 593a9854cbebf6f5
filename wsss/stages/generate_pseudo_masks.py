"""Stage 2: pictures + tags + classifier → soft seeds → CRF → pseudo-masks.

Reads `train_cls/model.safetensors`; writes `seeds/<id>.npz` and `pseudo_masks/<id>.png`, and
`confidence/<id>.png` where asked. Each picture by itself, so that a killed stage goes on where it
was and shards share the work.
"""

from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss import cam as cams
from wsss import seeds
from wsss.config import PseudoMasksConfig, RunConfig
from wsss.crf import DenseCRF
from wsss.data.confidence import harden, write_confidence
from wsss.data.sources import open_masked
from wsss.data.tags import Picture, read_image
from wsss.data.transforms import normalise
from wsss.engine.checkpoint import load_trained
from wsss.engine.mask_making import make_masks
from wsss.engine.runtime import Runtime, start
from wsss.errors import WsssError
from wsss.models.classifier import ClassifierOutput, TagClassifier, build_classifier
from wsss.run_dir import RunDir, write_atomic
from wsss.voc import write_mask
from wsss.walk import min_max

# Soft seeds are kept at this stride: half of the finest grid that walks by default.
SEED_STRIDE = 4


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
    run_dir = RunDir.create(config, again="pseudo_masks" if overwrite else None)
    folder = run_dir.stage("pseudo_masks")
    if run_dir.finished("pseudo_masks"):
        return folder
    run_dir.require("train_cls", "train-cls")
    runtime = start(config.runtime, config.seed)
    data = open_masked(config.data, config.seed)
    pictures, weights = data.pictures, run_dir.model("train_cls")
    model, _ = load_trained(
        weights, "classifier", build_classifier, runtime.device, data.class_names
    )
    crf = make_crf(config.pseudo_masks)
    check_walks(config.pseudo_masks, model)
    run_dir.begin("pseudo_masks", config)
    settings = config.pseudo_masks

    def make(picture: Picture) -> None:
        image = read_image(picture.path)
        soft = soft_seeds(model, image, picture.tags, settings, runtime)
        probs = marginals(image, soft, settings, crf, runtime)
        mask = harden(probs, soft.labels.tolist(), settings.confidence)
        write_atomic(run_dir.seed(picture.id), lambda path: _save(path, soft))
        if settings.save_confidence:
            write_confidence(run_dir.confidence(picture.id), probs)
        write_mask(run_dir.pseudo_mask(picture.id), mask)

    beside = [run_dir.seed, *([run_dir.confidence] if settings.save_confidence else [])]
    make_masks(run_dir, pictures, make, beside, overwrite, shard)
    return folder


def make_crf(settings: PseudoMasksConfig) -> DenseCRF | None:
    """The CRF that a config asks for, or none."""
    if settings.crf == "none":
        return None
    backend = settings.crf_backend
    return DenseCRF(settings.crf, backend=backend, iterations=settings.crf_iterations)


def check_walks(settings: PseudoMasksConfig, model: TagClassifier) -> None:
    """Refuse walks through blocks that the backbone doesn't have.

    Raises:
        WsssError: names the blocks that have slots.
    """
    device = model.bias.device
    with torch.inference_mode():
        names = list(cast(ClassifierOutput, model(torch.zeros(1, 3, 64, 64, device=device)))[3])
    for walk in settings.walks:
        if walk.block not in names:
            raise WsssError(
                f"pseudo_masks.walks names the block {walk.block!r}, which has no slots in this "
                f"backbone: choose among {', '.join(names)}."
            )


@torch.inference_mode()
def soft_seeds(
    model: TagClassifier,
    image: NDArray[np.uint8],
    tags: tuple[int, ...],
    settings: PseudoMasksConfig,
    runtime: Runtime,
) -> SoftSeeds:
    """Class activation and slot seeds of a picture over scales and flip.

    Args:
        model: classifier in eval mode.
        image: (H, W, 3) uint8 RGB.
        tags: class indices from 0.
        settings: scales, flip, walks.
        runtime: device.
    """
    height, width = image.shape[:2]
    size = (-(-height // SEED_STRIDE), -(-width // SEED_STRIDE))
    labels = np.array([tag + 1 for tag in tags], np.uint8)
    if not tags:
        empty = np.zeros((0, *size), np.float16)
        return SoftSeeds(labels, empty, empty)
    normalised = normalise(image)[None].to(runtime.device)
    walks = {walk.block: walk.steps for walk in settings.walks}
    plain, walked = [], []
    for scale in settings.scales:
        scaled = cams.resize(normalised, cams.scaled_size(height, width, scale))
        output = model(cams.with_flip(scaled) if settings.flip else scaled)
        own = output.cam[:, list(tags)].float().relu()
        plain.append(cams.fold_flip(own))
        walked.append(cams.fold_flip(seeds.slot_seeds(own, output.assignments, walks)))
    return SoftSeeds(labels, _finish(plain, size), _finish(walked, size))


def _finish(maps: list[Tensor], size: tuple[int, int]) -> NDArray[np.float16]:
    merged = min_max(cams.merge_scales(maps, size)[None])[0]
    return merged.cpu().numpy().astype(np.float16)


def marginals(
    image: NDArray[np.uint8],
    soft: SoftSeeds,
    settings: PseudoMasksConfig,
    crf: DenseCRF | None,
    runtime: Runtime,
) -> Tensor:
    """Seeds, refined by the CRF over the picture's own labels.

    Returns:
        (L + 1, H, W), background first, each pixel summing to 1.
    """
    if len(soft.labels) == 0:
        return torch.ones(1, *image.shape[:2], device=runtime.device)
    scores = torch.from_numpy(soft.seed).to(runtime.device).float()
    margins = seeds.margins(scores, settings.background, image.shape[:2])
    probs = seeds.seed_probabilities(margins, settings.sharpness)
    if crf is not None:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(runtime.device)
        probs = crf(pixels, probs[None])[0]
    return probs


def _save(path: Path, soft: SoftSeeds) -> None:
    np.savez_compressed(path, **soft._asdict())
