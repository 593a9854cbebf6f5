"""Stage 1: image + tags → classifier.

Reads images and tags; writes `train_cls/model.safetensors` and `metrics.json` (mAP of held-back
training images).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from wsss.config import RunConfig
from wsss.data.augment import limit_side, normalise, normalise_pixels
from wsss.data.check_images import without_damaged
from wsss.data.images import TaggedDataset, read_image
from wsss.data.open import open_stage
from wsss.data.tags import TagTrainingSet
from wsss.engine.progress import track
from wsss.engine.runtime import Runtime, start
from wsss.engine.train_stage import deliver, train_stage
from wsss.files import write_json
from wsss.metrics.average_precision import average_precision
from wsss.metrics.split_scores import known
from wsss.models.classifier import ClassifierOutput, TagClassifier, new_classifier
from wsss.run.state import Work
from wsss.seeding.cam import resize, scaled_size


def run(config: RunConfig, overwrite: bool = False) -> Path:
    """Train the classifier of a run, or go on with it; returns the path of its weights."""
    tagged, digests = open_stage(config.data, config.seed, "train_cls")
    work = Work(config, "train_cls", digests, overwrite)
    path = work.run.model("train_cls")
    if not work.needed:
        return path
    runtime = start(config.runtime, config.seed)
    settings = config.train_cls
    train, held = tagged.split_holdout(settings.holdout, config.seed)
    model = new_classifier(config, len(tagged.class_names)).to(runtime.device)
    _train(work, runtime, model, train)
    metrics = {"train_images": len(train), "held_images": len(held)}
    if runtime.is_main:
        if config.data.skip_damaged:
            held, _ = without_damaged(held)
        if len(held):
            metrics |= _score(model, held, runtime, config.data.max_side)
        write_json(work.run.metrics, metrics)
        deliver(work, model, _metadata(config, tagged), metrics)
    return path


def _train(work: Work, runtime: Runtime, model: TagClassifier, train: TaggedDataset) -> None:
    config, settings = work.config, work.config.train_cls
    dataset = TagTrainingSet(
        train,
        settings.crop,
        config.seed,
        scale=settings.crop_area,
        jitter=settings.jitter,
        max_side=config.data.max_side,
    )

    def loss_function(trained: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        images, tags = batch
        output = cast(ClassifierOutput, trained(normalise_pixels(images)))
        return model.loss(output, tags, settings.slot_loss)

    train_stage(work, runtime, model, model.backbone, dataset, loss_function)


@torch.inference_mode()
def _score(
    model: TagClassifier, held: TaggedDataset, runtime: Runtime, max_side: int | None
) -> dict[str, Any]:
    """MAP at scale 1, whole images, no flip."""
    scores = []
    for sample in track(held.samples, "mAP of held images", len(held)):
        image = normalise(limit_side(read_image(sample.path), max_side))[None]
        size = scaled_size(image.shape[-2], image.shape[-1], 1.0)
        with runtime.autocast():
            output = model(resize(image, size).to(runtime.device))
        scores.append(output.logits[0].float().cpu().numpy())
    by_class, mean = average_precision(np.stack(scores), held.tag_matrix())
    # a class without a held image has no precision
    return {
        "map": known(mean),
        "ap": {name: known(ap) for name, ap in zip(held.class_names, by_class, strict=True)},
    }


def _metadata(config: RunConfig, tagged: TaggedDataset) -> dict[str, Any]:
    return {
        "kind": "classifier",
        "backbone": config.backbone.name,
        "backbone_args": config.backbone.args,
        "class_names": list(tagged.class_names),
        "slot_block": config.train_cls.slot_block,
        "slot_top": config.train_cls.slot_top,
        "pooling": config.train_cls.pooling,
    }
