"""Stages 1 to 3 at once: pictures + tags → segmenter, its masks made online from the CAM.

Reads pictures and tags; writes `train_seg/model.safetensors`. The heads are those of `train_cls`,
the seeds those of `pseudo_masks`, crops' size, decoder and schedule those of `train_seg`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsss.config import RunConfig
from wsss.data.samples import MaskSample
from wsss.data.sources import open_stage
from wsss.data.tags import TaggedPictures, TagTrainingSet
from wsss.engine.runtime import Runtime, start
from wsss.engine.training import deliver, train_stage
from wsss.errors import WsssError
from wsss.models.classifier import ClassifierOutput, new_classifier
from wsss.models.segmenter import build_segmenter, segmenter_metadata
from wsss.models.segmenter_loss import SegmenterLoss
from wsss.models.single_stage import OnlineMasks, SingleStage
from wsss.run_dir import RunDir


def run(config: RunConfig, overwrite: bool = False) -> Path:
    """Train the segmenter of a run from tags, or go on with it; returns the path of its weights."""
    pictures, digests = open_stage(config.data, config.seed, "train_seg")
    run_dir = RunDir.create(config, digests, again="train_seg" if overwrite else None)
    path = run_dir.model("train_seg")
    if run_dir.finished("train_seg") and not overwrite:
        return path
    if config.train_seg.crop % 32:
        raise WsssError(
            f"train_seg.crop is {config.train_seg.crop}: training in a single stage takes crops of "
            "whole strides, so give a multiple of 32."
        )
    runtime = start(config.runtime, config.seed)
    metadata = segmenter_metadata(config, pictures.class_names)
    model = _build(config, metadata).to(runtime.device)
    _train(config, run_dir, runtime, model, pictures, overwrite)
    if runtime.is_main:
        alone = _segmenter_alone(model, metadata)
        deliver(run_dir, "train_seg", alone, metadata, {"pictures": len(pictures)})
    return path


def _build(config: RunConfig, metadata: dict[str, Any]) -> SingleStage:
    classifier = new_classifier(config, len(metadata["class_names"]))
    return SingleStage(build_segmenter(metadata), classifier)


def _segmenter_alone(model: SingleStage, metadata: dict[str, Any]) -> nn.Module:
    """The segmenter with an encoder of its own, which has no last norm."""
    alone = build_segmenter(metadata)
    trained = model.segmenter.state_dict()
    alone.load_state_dict({name: trained[name] for name in alone.state_dict()})
    return alone


def _train(
    config: RunConfig,
    run_dir: RunDir,
    runtime: Runtime,
    model: SingleStage,
    pictures: TaggedPictures,
    again: bool,
) -> None:
    settings, single = config.train_seg, config.train_seg.single_stage
    dataset = TagTrainingSet(
        pictures,
        settings.crop,
        config.seed,
        scale=config.train_cls.crop_area,
        jitter=settings.jitter,
        max_side=config.data.max_side,
    )
    make_masks = OnlineMasks(config.pseudo_masks, single, config.train_cls.slot_block)
    mask_loss = SegmenterLoss(settings.loss.model_copy(update={"confidence": 0.0}))
    decoder = [p for n, p in model.segmenter.named_parameters() if not n.startswith("net.encoder.")]

    def loss_function(
        trained: nn.Module, batch: Sequence[Tensor], progress: float
    ) -> tuple[Tensor, dict[str, float]]:
        images, tags = batch
        decode = progress >= single.warmup
        output: ClassifierOutput
        output, logits = trained(images, decode=decode)
        tag_loss = model.classifier.loss(output, tags, config.train_cls.slot_loss)
        if not decode:
            # processes wait for a gradient of every parameter
            return tag_loss + 0.0 * torch.stack([p.sum() for p in decoder]).sum(), {}
        masks = make_masks(images, output, tags)
        sample = MaskSample(images, masks, torch.ones_like(images[:, 0]), tags)
        seg_loss, figures = mask_loss(logits, sample, progress)
        figures |= {"cls": float(tag_loss.detach()), "seg": float(seg_loss.detach())}
        return tag_loss + single.weight * seg_loss, figures

    backbone = model.classifier.backbone
    train_stage(
        config, "train_seg", runtime, model, backbone, dataset, loss_function, run_dir, again
    )
