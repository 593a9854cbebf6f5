"""Stage 1: image + tags → classifier.

Reads images and tags; writes `train_cls/model.safetensors` and `metrics.json` (mAP of held-back
training images). On a backbone that is left as it is, `features` holds what it found in images
until the heads are trained.
"""

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
from wsss.data.features import FeatureSet, by_shape
from wsss.data.images import Sample, TaggedDataset
from wsss.data.tags import TagTrainingSet
from wsss.engine.inference import Loaded, Steps, load, process, to_device
from wsss.engine.loop import LossFunction, check_batch
from wsss.engine.parameter_groups import parameter_groups
from wsss.engine.runtime import Runtime, join, start
from wsss.engine.schedule import schedule_of
from wsss.engine.stage_work import take_on
from wsss.engine.train_stage import begin_training, deliver, fit, train_stage
from wsss.errors import WsssError
from wsss.files import names_below, write_json
from wsss.metrics.average_precision import average_precision
from wsss.metrics.presence import least_probabilities
from wsss.metrics.split_scores import known
from wsss.models.classifier import ClassifierOutput, TagClassifier, new_classifier
from wsss.models.frozen_heads import HeadsOnFeatures, keep_features
from wsss.models.gate import whole_image_logits
from wsss.run.state import Run, Work

HEAD_STEPS = 400
"""Steps of heads that are trained alone, at least."""


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
    rate = settings.backbone_rate(len(tagged), config.backbone.weights is not None)
    if rate == 0:
        _train_heads(work, runtime, model, train)
    else:
        _train(work, runtime, model, train, rate)
    metrics = {"train_images": len(train), "held_images": len(held), "backbone_lr_factor": rate}
    if config.data.skip_damaged:
        held = team.once(lambda: without_damaged(held)[0])
    if len(held):
        metrics |= _score(model, held, runtime, config.data.max_side)

    def finish() -> None:
        write_json(work.run.metrics, metrics)
        # first: a finished stage is not looked at again
        shutil.rmtree(work.run.features, ignore_errors=True)
        deliver(work, model, _metadata(config, tagged) | _thresholds(metrics), metrics)

    team.once(finish)
    return path


def _train(
    work: Work, runtime: Runtime, model: TagClassifier, train: TaggedDataset, rate: float
) -> None:
    config, settings = work.config, work.config.train_cls
    dataset = TagTrainingSet(
        train,
        settings.crop,
        config.seed,
        scale=settings.crop_area,
        jitter=settings.jitter,
        max_side=config.data.max_side,
    )

    loss_function = _loss(work, runtime, model, lambda batch: [normalise_pixels(batch[0])])
    train_stage(work, runtime, model, model.backbone, rate, dataset, loss_function)


def _train_heads(work: Work, runtime: Runtime, model: TagClassifier, train: TaggedDataset) -> None:
    """Train the heads alone, on what the backbone, left as it is, finds in whole images."""
    config, run, team, settings = work.config, work.run, runtime.team, work.config.train_cls
    schedule = schedule_of(settings, len(train), HEAD_STEPS)
    check_batch(schedule, runtime, "train-cls")
    # a step takes milliseconds as it is
    exact = replace(runtime, precision="fp32", compile=False)
    if settings.backbone_lr_factor == "auto" and runtime.is_main:
        print(
            f"{len(train)} images are few: the classifier's heads are trained alone, on a backbone "
            "that is left as it is (train_cls.backbone_lr_factor=0.3 trains it, too)",
            file=sys.stderr,
        )
    begin_training(work, exact)
    kept = team.once(lambda: _kept(run, train.samples))
    todo = [sample for sample in train.samples if sample.id not in kept]
    rules = config.data.max_side, config.data.skip_damaged
    left_out = {one.id for one in keep_features(model, todo, run.feature, runtime, *rules)}
    known = [sample for sample in train.samples if sample.id not in left_out]
    if not known:
        raise WsssError(f"None of the {len(train)} training images can be read: copy them anew.")
    dataset = FeatureSet(replace(train, samples=tuple(known)), run.feature)
    with team.together():
        heads = HeadsOnFeatures(model, [run.feature(sample.id) for sample in known])
    groups = parameter_groups(heads, model.backbone, settings.lr, 0, settings.weight_decay)
    loss_function = _loss(work, exact, model, lambda batch: batch[:-1])
    fit(work, exact, heads, groups, dataset, loss_function, schedule, by_shape)
    heads.fold()


def _kept(run: Run, samples: Sequence[Sample]) -> set[str]:
    """Ids of the images whose features are kept, and which are as they were then."""
    found = names_below(run.features, ".safetensors")

    def unchanged(sample: Sample) -> bool:
        # a file that another one was moved onto is as old as it ever was, but its entry is new
        return sample.path.stat().st_ctime_ns <= run.feature(sample.id).stat().st_mtime_ns

    return {sample.id for sample in samples if sample.id in found and unchanged(sample)}


def _loss(
    work: Work,
    runtime: Runtime,
    model: TagClassifier,
    inputs: Callable[[Sequence[Tensor]], Sequence[Tensor]],
) -> LossFunction:
    """The loss of batches that end with their tags.

    Args:
        work: names the settings.
        runtime: its processes share a batch.
        model: the classifier.
        inputs: what of a batch the trained network takes.
    """
    weight = work.config.train_cls.slot_loss

    def loss_function(trained: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        tags = batch[-1]
        output = cast(ClassifierOutput, trained(*inputs(batch)))
        # a mean over this process's images, of which others may have one more
        share = len(tags) / runtime.team.total(tags.new_full((), len(tags)))
        return model.loss(output, tags, weight) * share

    return loss_function


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
        "second_backbone": config.train_cls.second_backbone,
        "class_names": list(tagged.class_names),
        "slot_block": config.train_cls.slot_block,
        "slot_top": config.train_cls.slot_top,
        "pooling": config.train_cls.pooling,
    }
