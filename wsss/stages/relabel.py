"""Stage 2 of a later round: pictures + tags + the former round's segmenter → pseudo-masks.

Reads `train_seg/model.safetensors` of the round before; writes `pseudo_masks/<id>.png` and
`confidence/<id>.png` of this round. The segmenter was trained on masks of many pictures, so it
knows a class better than a single picture's seeds do, and the tags forbid what it mistakes for
another.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.config import RunConfig, SelfTrainingConfig
from wsss.crf import DenseCRF
from wsss.data.class_names import write_class_names
from wsss.data.confidence import harden, write_confidence
from wsss.data.sources import open_stage
from wsss.data.tags import Picture, read_image
from wsss.data.transforms import limit_side, normalise, resize_mask
from wsss.engine.checkpoint import load_trained
from wsss.engine.mask_making import make_masks
from wsss.engine.runtime import require_one_process, start
from wsss.engine.timing import Stopwatch
from wsss.models.segmenter import build_segmenter, predict_probs
from wsss.run_dir import RunDir
from wsss.voc import read_mask, write_mask


def run(
    config: RunConfig,
    overwrite: bool = False,
    shard: tuple[int, int] = (0, 1),
    train_again: bool = False,
) -> Path:
    """Make the pseudo-masks of a round after the first, or the rest of them; returns their folder.

    Args:
        config: of the round.
        overwrite: make all of them anew.
        shard: (i, n) takes every n-th picture, from the i-th.
        train_again: the training on the masks is to be done again: it may have had other settings.
    """
    former = RunDir.of_round(config, config.round - 1)
    option = f" --round {config.round - 1}" if config.round > 2 else ""
    former.require("train_seg", option)
    data, digests = open_stage(config.data, config.seed, "pseudo_masks")
    again = "pseudo_masks" if overwrite else "train_seg" if train_again else None
    run_dir = RunDir.create(config, digests, again)
    folder = run_dir.stage("pseudo_masks")
    if run_dir.finished("pseudo_masks") and not overwrite:
        return folder
    require_one_process()
    runtime = start(config.runtime, config.seed)
    model, _ = load_trained(
        former.model("train_seg"), "segmenter", build_segmenter, runtime.device, data.class_names
    )
    settings = config.self_training
    crf = None
    if settings.crf != "none":
        crf = DenseCRF(settings.crf, iterations=settings.crf_iterations)
    # a segmenter that was trained in a single stage has no masks; its folder may hold others'
    single = config.round == 2 and RunDir.open(former.root).train_seg.single_stage.enabled
    own_masks = former.finished("pseudo_masks") and not single
    mixed = settings.former_masks > 0 and own_masks
    run_dir.begin("pseudo_masks", config, overwrite)
    write_class_names(folder, data.class_names)

    watch = Stopwatch(runtime.device)

    @torch.inference_mode()
    def make(picture: Picture) -> None:
        whole = read_image(picture.path)
        image, size = limit_side(whole, config.data.max_side), whole.shape[:2]
        labels = [tag + 1 for tag in picture.tags]
        tensor = normalise(image)[None].to(runtime.device)
        with watch("network"):
            probs = predict_probs(model, tensor, settings.scales, settings.flip)
        old, old_path = None, former.pseudo_mask(picture.id)
        if mixed and old_path.is_file():  # a round may take pictures that the former left out
            old = resize_mask(read_mask(old_path), image.shape[:2])
        with watch("refinement"):
            refined = marginals(image, probs, labels, old, settings, crf)
        write_confidence(run_dir.confidence(picture.id), refined, size)
        mask = harden(refined, labels, settings.confidence)
        write_mask(run_dir.pseudo_mask(picture.id), resize_mask(mask, size))

    make_masks(run_dir, data.pictures, make, [run_dir.confidence], overwrite, shard, watch)
    return folder


def marginals(
    image: NDArray[np.uint8],
    probs: Tensor,
    labels: Sequence[int],
    old: NDArray[np.uint8] | None,
    settings: SelfTrainingConfig,
    crf: DenseCRF | None,
) -> Tensor:
    """The segmenter's answer among a picture's own labels, refined by the CRF.

    Args:
        image: (H, W, 3) uint8 RGB.
        probs: (C + 1, H, W) of the segmenter.
        labels: L mask values that the picture's tags allow beside the background.
        old: (H, W) uint8, the former round's mask, to be mixed in.
        settings: weight of the former mask.
        crf: refines, where there is one.

    Returns:
        (L + 1, H, W), background first, each pixel summing to 1.
    """
    own = among_tags(probs, labels)
    if old is not None:
        own = mix_in(own, torch.from_numpy(old).to(own.device), labels, settings.former_masks)
    if crf is None or not labels:
        return own
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(own.device)
    return crf(pixels, own[None])[0]


def among_tags(probs: Tensor, labels: Sequence[int]) -> Tensor:
    """Probabilities given that no other class is there: each tag's share of the foreground.

    A class that isn't tagged is an object mistaken for another, not background: p₀ stays, and the
    rest, 1 − p₀, is dealt to the tags as p_c / Σ_tags p.

    Args:
        probs: (C + 1, H, W), sums to 1.
        labels: L mask values.

    Returns:
        (L + 1, H, W), sums to 1; all background for a picture without tags.
    """
    if not labels:
        return torch.ones_like(probs[:1])
    own = probs[list(labels)]
    total = own.sum(dim=0, keepdim=True)
    shares = torch.where(total > 0, own / total.clamp_min(1e-30), 1 / len(own))
    return torch.cat([probs[:1], (1 - probs[:1]) * shares])


def mix_in(probs: Tensor, mask: Tensor, labels: Sequence[int], weight: float) -> Tensor:
    """(1 − w) · probabilities + w · a mask, where the mask says anything.

    What the segmenter no longer finds in a picture keeps a voice, and mistakes die out slowly.

    Args:
        probs: (L + 1, H, W), sums to 1.
        mask: (H, W) uint8; 255 says nothing, nor does what is no label.
        labels: L mask values.
        weight: w, in [0, 1).

    Returns:
        (L + 1, H, W), sums to 1.
    """
    values = torch.tensor([0, *labels], device=mask.device)
    said = mask == values[:, None, None]
    return torch.where(said.any(dim=0), (1 - weight) * probs + weight * said, probs)
