"""Stage 3: pictures + pseudo-masks → segmenter.

Reads `pseudo_masks/<id>.png` of the run, never a true mask; writes `train_seg/model.safetensors`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsss.config import RunConfig
from wsss.data.masks import MaskTrainingSet
from wsss.data.sources import open_masked
from wsss.engine import loop
from wsss.engine.checkpoint import load_trained, save_model
from wsss.engine.runtime import Runtime, start
from wsss.models.backbone import create_backbone
from wsss.models.classifier import build_classifier
from wsss.models.parameters import parameter_groups
from wsss.models.segmenter import Segmenter, build_segmenter
from wsss.run_dir import RunDir
from wsss.voc import IGNORE_INDEX


def run(config: RunConfig, overwrite: bool = False) -> Path:
    """Train the segmenter of a run, or go on with it; returns the path of its weights."""
    run_dir = RunDir.create(config, again="train_seg" if overwrite else None)
    path = run_dir.model("train_seg")
    if run_dir.finished("train_seg"):
        return path
    run_dir.require("pseudo_masks", "generate-pseudo-masks")
    runtime = start(config.runtime, config.seed)
    pictures = open_masked(config.data, config.seed)
    pairs = [(p.path, run_dir.pseudo_mask(p.id)) for p in pictures.pictures]
    metadata = {
        "kind": "segmenter",
        "backbone": config.backbone.name,
        "backbone_args": config.backbone.args,
        "decoder": config.train_seg.decoder,
        "decoder_args": config.train_seg.decoder_args,
        "class_names": list(pictures.class_names),
    }
    model = _build(config, metadata, run_dir).to(runtime.device)
    run_dir.begin("train_seg", config)
    _train(config, runtime, model, pairs)
    if runtime.is_main:
        save_model(path, model, metadata)
        run_dir.finish("train_seg", {"pictures": len(pairs)})
        run_dir.checkpoint("train_seg").unlink(missing_ok=True)
    return path


def _build(config: RunConfig, metadata: dict[str, Any], run_dir: RunDir) -> Segmenter:
    torch.manual_seed(config.seed)
    model = build_segmenter(metadata)
    if config.train_seg.from_classifier:
        classifier, _ = load_trained(
            run_dir.model("train_cls"), "classifier", build_classifier, torch.device("cpu")
        )
        model.load_backbone(classifier.backbone)
    elif config.backbone.weights is not None:
        model.load_backbone(
            create_backbone(config.backbone.name, config.backbone.weights, config.backbone.args)
        )
    return model


def balanced_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean of the cross-entropies over background and over foreground pixels, 255 ignored.

    Args:
        logits: (B, C + 1, H, W).
        target: (B, H, W) int64 in {0..C, 255}.

    Returns:
        Scalar; 0 where every pixel is ignored.
    """
    loss = F.cross_entropy(logits.float(), target, ignore_index=IGNORE_INDEX, reduction="none")
    background = target == 0
    foreground = (target != 0) & (target != IGNORE_INDEX)
    halves = [loss[part].mean() for part in (background, foreground) if bool(part.any())]
    return torch.stack(halves).mean() if halves else loss.sum() * 0.0


def _train(
    config: RunConfig,
    runtime: Runtime,
    model: Segmenter,
    pairs: list[tuple[Path, Path]],
) -> None:
    settings = config.train_seg
    dataset = MaskTrainingSet(
        pairs, settings.crop, config.seed, scale=settings.scale, jitter=settings.jitter
    )

    def loss_function(
        trained: nn.Module, batch: Sequence[Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        images, masks = batch
        return balanced_cross_entropy(trained(images), masks), {}

    loop.train_stage(
        config,
        "train_seg",
        runtime,
        model,
        parameter_groups(
            model,
            model.encoder,
            settings.lr,
            settings.backbone_lr_factor,
            settings.weight_decay,
        ),
        dataset,
        loss_function,
        loop.schedule_of(settings, len(pairs), settings.ema),
    )
