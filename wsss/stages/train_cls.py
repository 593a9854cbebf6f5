"""Stage 1: image + tags → classifier.

Reads images and tags; writes `train_cls/model.safetensors` and `metrics.json` (mAP of held-back
training images).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from wsss.config import RunConfig
from wsss.data.augment import normalise_pixels
from wsss.data.check_images import without_damaged
from wsss.data.images import TaggedDataset
from wsss.data.tags import TagTrainingSet
from wsss.engine.inference import Loaded, Steps, load, process, to_device
from wsss.engine.runtime import Runtime, join, start
from wsss.engine.stage_work import take_on
from wsss.engine.train_stage import deliver, train_stage
from wsss.files import write_json
from wsss.metrics.average_precision import average_precision
from wsss.metrics.presence import least_probabilities
from wsss.metrics.split_scores import known
from wsss.models.classifier import ClassifierOutput, TagClassifier, new_classifier
from wsss.models.gate import whole_image_logits
from wsss.run.state import Work


def run(config: RunConfig, overwrite: bool = False) -> Path:
    """Train the classifier of a run, or go on with it; returns the path of its weights."""
    team = join()
    tagged, work, needed = take_on(team, config, "train_cls", overwrite)
    path = work.run.model("train_cls")
    if not needed:
        return path
    settings = config.train_cls
    with team.together():
        runtime = start(config.runtime, config.seed)
        train, held = tagged.split_holdout(settings.holdout, config.seed)
        model = new_classifier(config, len(tagged.class_names)).to(runtime.device)
    _train(work, runtime, model, train)
    metrics = {"train_images": len(train), "held_images": len(held)}
    if config.data.skip_damaged:
        held = team.once(lambda: without_damaged(held)[0])
    if len(held):
        metrics |= _score(model, held, runtime, config.data.max_side)

    def finish() -> None:
        write_json(work.run.metrics, metrics)
        deliver(work, model, _metadata(config, tagged) | _thresholds(metrics), metrics)

    team.once(finish)
    return path


def _train(work: Work, runtime: Runtime, model: TagClassifier, train: TaggedDataset) -> None:
    config, settings, team = work.config, work.config.train_cls, runtime.team
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
        # a mean over this process's images, of which others may have one more
        share = len(tags) / team.total(tags.new_full((), len(tags)))
        return model.loss(output, tags, settings.slot_loss) * share

    train_stage(work, runtime, model, model.backbone, dataset, loss_function)


@torch.inference_mode()
def _score(
    model: TagClassifier, held: TaggedDataset, runtime: Runtime, max_side: int | None
) -> dict[str, Any]:
    """MAP at scale 1, whole images, no flip; and the least probabilities of classes."""
    scores: dict[int, NDArray[np.float32]] = {}

    def compute(batch: list[tuple[int, Loaded]]) -> list[tuple[int, NDArray[np.float32]]]:
        pixels = to_device([one.image for _, one in batch], runtime.device)
        with runtime.autocast():
            logits = whole_image_logits(model, normalise_pixels(pixels))
        return [(i, own) for (i, _), own in zip(batch, logits.cpu().numpy(), strict=True)]

    steps = Steps(
        lambda i: (i, load(held.samples[i], max_side)),
        lambda one: one[1].image.shape,
        compute,
        lambda one: scores.update([one]),
    )
    process(range(len(held)), steps, runtime, "mAP of held images")
    for others in runtime.team.gather(scores):
        scores |= others
    in_order = np.stack([scores[index] for index in range(len(held))])
    tags = held.tag_matrix()
    by_class, mean = average_precision(in_order, tags)
    least = least_probabilities(expit(in_order), tags)
    # a class without a held image has no precision
    return {
        "map": known(mean),
        "ap": {name: known(ap) for name, ap in zip(held.class_names, by_class, strict=True)},
        "least": dict(zip(held.class_names, least.tolist(), strict=True)),
    }


def _thresholds(metrics: Mapping[str, Any]) -> dict[str, list[float]]:
    """What the classifier's file says of them; nothing where no image was held back."""
    return {"least": list(metrics["least"].values())} if "least" in metrics else {}


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
