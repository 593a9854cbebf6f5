"""Stage 3: images + pseudo-masks → segmenter.

Reads `pseudo_masks/<id>.png` of the run, never a true mask; writes `train_seg/model.safetensors`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsss.config import RunConfig
from wsss.data.images import TaggedDataset
from wsss.data.masks import MaskTrainingSet
from wsss.data.open import open_stage
from wsss.engine.checkpoint import load_trained, load_weights
from wsss.engine.runtime import start
from wsss.engine.train_stage import deliver, train_stage
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
        return path
    work.run.require("pseudo_masks")
    runtime = start(config.runtime, config.seed)
    dataset = _crops(work, tagged)
    metadata = segmenter_metadata(config, tagged.class_names)
    model = _build(config, metadata).to(runtime.device)

    def loss_function(trained: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        image, mask = batch
        return mask_loss(config.train_seg.loss, trained(image), mask)

    train_stage(work, runtime, model, model.encoder, dataset, loss_function)
    if runtime.is_main:
        deliver(work, model, metadata, {"images": len(dataset)})
    return path


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
    return MaskTrainingSet(
        [(p.path, work.run.pseudo_mask(p.id)) for p in tagged.samples],
        settings.crop,
        config.seed,
        scale=settings.scale,
        jitter=settings.jitter,
        max_side=config.data.max_side,
    )
