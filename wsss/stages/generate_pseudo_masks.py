"""Stage 2: pictures + tags + classifier → soft seeds → CRF → pseudo-masks.

Reads `train_cls/model.safetensors`; writes `seeds/<id>.npz` and `pseudo_masks/<id>.png`. Each
picture by itself, so that a killed stage goes on where it was and shards share the work.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss import seeds
from wsss.config import PseudoMasksConfig, RunConfig
from wsss.crf import DenseCRF
from wsss.data.sources import open_masked
from wsss.data.tags import Picture, read_image
from wsss.engine.checkpoint import load_trained
from wsss.engine.runtime import start
from wsss.engine.timing import Stopwatch
from wsss.engine.tracking import track
from wsss.errors import WsssError
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
    check_walks(seeding_of(config.pseudo_masks), model)
    run_dir.begin("pseudo_masks", config)
    share = pictures[shard[0] :: shard[1]]
    for picture in share if overwrite else ():
        # now, not one by one: if this start is cut short, the next may not keep an old mask
        run_dir.pseudo_mask(picture.id).unlink(missing_ok=True)
    todo = [picture for picture in share if not _made(run_dir, picture)]
    watch = Stopwatch(runtime.device)
    for picture in track(todo, "generate-pseudo-masks", len(todo)):
        image = read_image(picture.path)
        soft = soft_seeds(model, image, picture.tags, config.pseudo_masks, watch)
        mask = pseudo_mask(image, soft, config.pseudo_masks, crf, watch)
        write_atomic(run_dir.seed(picture.id), lambda path: _save(path, soft))  # noqa: B023
        write_mask(run_dir.pseudo_mask(picture.id), mask)
    time: dict[str, Any] = {
        "timed_pictures": len(todo),
        "ms_per_picture": watch.per_unit(len(todo)),
    }
    if todo:
        parts = ", ".join(f"{part} {ms:.1f}" for part, ms in time["ms_per_picture"].items())
        print(f"generate-pseudo-masks  ms a picture: {parts}", file=sys.stderr)
    if all(_made(run_dir, picture) for picture in pictures):
        run_dir.finish("pseudo_masks", {"pictures": len(pictures), **time})
    return folder


def parse_shard(text: str) -> tuple[int, int]:
    """`i/n` → (i, n).

    Raises:
        WsssError: it isn't of that form, or i is no shard of n.
    """
    first, _, count = text.partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise WsssError(f"--shard is {text!r}: expected i/n with 0 ≤ i < n, such as 0/2.")
    return int(first), int(count)


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


def pseudo_mask(
    image: NDArray[np.uint8],
    soft: SoftSeeds,
    settings: PseudoMasksConfig,
    crf: DenseCRF | None,
    watch: Stopwatch,
) -> NDArray[np.uint8]:
    """Seeds, refined by the CRF over the picture's own labels.

    Returns:
        (H, W) uint8: a class index, or 255 where the best marginal is below the confidence, or
        where the two thresholds of a band differ.
    """
    if len(soft.labels) == 0:
        return np.zeros(image.shape[:2], np.uint8)
    scores = torch.from_numpy(soft.seed).to(watch.device).float()
    margins = seeds.margins(scores, settings.background, image.shape[:2])
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(watch.device)
    values = torch.from_numpy(np.concatenate([[0], soft.labels])).to(watch.device)

    def decide(margins: Tensor) -> Tensor:
        probs = seeds.seed_probabilities(margins, settings.sharpness)
        if crf is not None:
            with watch("crf"):
                probs = crf(pixels, probs[None])[0]
        best, index = probs.max(dim=0)
        return torch.where(best >= settings.confidence, values[index], IGNORE_INDEX)

    if settings.band == 0:
        mask = decide(margins)
    else:
        strict, loose = decide(margins - settings.band), decide(margins + settings.band)
        mask = seeds.within_band(strict, loose, IGNORE_INDEX)
    return mask.cpu().numpy().astype(np.uint8)


def _made(run_dir: RunDir, picture: Picture) -> bool:
    return run_dir.pseudo_mask(picture.id).is_file() and run_dir.seed(picture.id).is_file()


def _save(path: Path, soft: SoftSeeds) -> None:
    np.savez_compressed(path, **soft._asdict())
