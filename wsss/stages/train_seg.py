"""Stage 3: images + pseudo-masks → segmenter.

Reads `pseudo_masks/<id>.png` of the run, never a true mask; writes `train_seg/model.safetensors`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsss.config import RunConfig
from wsss.data.augment import normalise_pixels
from wsss.data.images import TaggedDataset
from wsss.data.mask_io import check_values, read_mask
from wsss.data.masks import MaskTrainingSet
from wsss.data.open import open_stage
from wsss.engine.checkpoint import load_trained, load_weights
from wsss.engine.runtime import start
from wsss.engine.train_stage import deliver, train_stage
from wsss.errors import WsssError
from wsss.labels import IGNORE_INDEX
from wsss.models.backbone import create_backbone
from wsss.models.classifier import build_classifier
from wsss.models.mask_loss import mask_loss
from wsss.models.segmenter import Segmenter, build_segmenter, segmenter_metadata
from wsss.run.state import Run, Work


def run(config: RunConfig, overwrite: bool = False) -> Path:
    """Train the segmenter of a run, or go on with it; returns the path of its weights."""
    tagged, digests = open_stage(config.data, config.seed, "train_seg")
    work = Work(config, "train_seg", digests, overwrite)
    path = work.run.model("train_seg")
    if not work.needed:
        _refuse_newer_masks(work.run, tagged)
        return path
    work.run.require("pseudo_masks")
    runtime = start(config.runtime, config.seed)
    dataset = _crops(work, tagged)
    for changed in _newer([mask for _, mask in dataset.pairs], work.run.done("pseudo_masks")):
        check_values(changed, read_mask(changed), tagged.class_names)
    metadata = segmenter_metadata(config, tagged.class_names)
    model = _build(config, metadata).to(runtime.device)

    def loss_function(trained: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        image, mask = batch
        target = mask.long()
        if not config.data.background:
            target = target.masked_fill(target == 0, IGNORE_INDEX)
        return mask_loss(config.train_seg.loss, trained(normalise_pixels(image)), target)

    train_stage(work, runtime, model, model.encoder, dataset, loss_function)
    if runtime.is_main:
        deliver(work, model, metadata, {"images": len(dataset)})
    return path


def _refuse_newer_masks(run: Run, tagged: TaggedDataset) -> None:
    """Refuse to call a segmenter finished whose masks were changed since it was trained."""
    masks = [run.pseudo_mask(sample.id) for sample in tagged.samples]
    newer = _newer([path for path in masks if path.is_file()], run.done("train_seg"))
    if newer:
        raise WsssError(
            f"{len(newer)} of {len(masks)} pseudo-masks, {newer[0]} first, are newer than the "
            f"segmenter of {run.root}: add --overwrite to `wsss train-seg` to train on them."
        )


def _newer(paths: Sequence[Path], mark: Path) -> list[Path]:
    """The files that were changed since a mark was written."""
    written = mark.stat().st_mtime_ns
    return [path for path in paths if path.stat().st_mtime_ns > written]


def _build(config: RunConfig, metadata: dict[str, Any]) -> Segmenter:
    torch.manual_seed(config.seed)
    model = build_segmenter(metadata)
    if config.round > 1 and config.self_training.start == "former":
        load_weights(Run.of_round(config, config.round - 1).model("train_seg"), model)
    elif config.train_seg.from_classifier:
        weights = Run.of_round(config, 1).model("train_cls")
        classifier, _ = load_trained(weights, "classifier", build_classifier, torch.device("cpu"))
        model.load_backbone(classifier.backbone)
    else:
        model.load_backbone(
            create_backbone(config.backbone.name, config.backbone.weights, config.backbone.args)
        )
    return model


def _crops(work: Work, tagged: TaggedDataset) -> MaskTrainingSet:
    config, settings = work.config, work.config.train_seg
    pairs = [(sample.path, work.run.pseudo_mask(sample.id)) for sample in tagged.samples]
    if config.data.skip_damaged:  # what stage 2 left out
        pairs = [(image, mask) for image, mask in pairs if mask.is_file()]
    return MaskTrainingSet(
        pairs,
        settings.crop,
        config.seed,
        scale=settings.scale,
        jitter=settings.jitter,
        max_side=config.data.max_side,
    )
