"""How long a run will take here, said before it trains: a few images through untrained networks."""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from wsss.config import OptimConfig, RunConfig
from wsss.crf import make_crf
from wsss.data.augment import normalise_pixels
from wsss.data.images import Sample, TaggedDataset
from wsss.data.tags import TagTrainingSet
from wsss.engine.inference import load, network_autocast, to_device
from wsss.engine.profile import Stopwatch
from wsss.engine.runtime import Runtime
from wsss.engine.schedule import steps_of
from wsss.models.classifier import TagClassifier
from wsss.models.frozen_heads import features_of
from wsss.models.inference import View, predict_images, predict_views
from wsss.models.mask_loss import mask_loss
from wsss.models.segmenter import Segmenter
from wsss.models.soft_seeds import seed_probs, soft_seeds
from wsss.run.state import Run, config_of_round
from wsss.seeding.masks import among_tags, refine

AT_ONCE = 4  # images of a step that is timed on a CPU; a device takes the whole part

Seconds = dict[str, float]
"""Command → what it will take."""


def estimate(
    config: RunConfig,
    tagged: TaggedDataset,
    masked: int,
    scored: int,
    networks: tuple[TagClassifier, Segmenter],
    runtime: Runtime,
) -> Seconds:
    """Times of the stages that aren't finished, from a few images each.

    Args:
        config: of the run.
        tagged: images that the classifier trains on.
        masked: number of images that get a pseudo-mask.
        scored: number of images whose prediction is scored.
        networks: classifier and segmenter, untrained, on the CPU.
        runtime: where they will compute.

    Returns:
        Nothing of what is finished; nothing at all where something doesn't run here, which its
        stage will report.
    """
    classifier, segmenter = networks[0].to(runtime.device), networks[1].to(runtime.device)
    sample = tagged.samples[len(tagged) // 2]
    rounds = [config_of_round(config, n) for n in range(1, config.self_training.rounds + 1)]
    missing = [[s for s in _STAGES if not Run(c.run).finished(s)] for c in rounds]
    found: Seconds = {}

    def add(command: str, count: float, per_one: Callable[[], float]) -> None:
        if count:
            found[command] = count * per_one() / runtime.team.world

    try:
        if "train_cls" in missing[0]:
            own, pretrained = config.train_cls, config.backbone.weights is not None
            if own.backbone_rate(len(tagged), pretrained) == 0:
                add(
                    "train-cls", len(tagged), lambda: _features(config, sample, classifier, runtime)
                )
            else:
                images = _images(own, len(tagged))
                add("train-cls", images, lambda: _train_cls(config, tagged, classifier, runtime))
        if "pseudo_masks" in missing[0]:
            add(
                "generate-pseudo-masks", masked, lambda: _seeds(config, sample, classifier, runtime)
            )
        later = sum("pseudo_masks" in stages for stages in missing[1:])
        add(
            "masks of later rounds",
            later * masked,
            lambda: _masks(config, sample, classifier, segmenter, runtime),
        )
        trainings = sum("train_seg" in stages for stages in missing)
        images = trainings * _images(config.train_seg, masked)
        add("train-seg", images, lambda: _train_seg(config, segmenter, runtime))
        predicted = scored * trainings
        add("predict", predicted, lambda: _predict(config, sample, segmenter, runtime))
    except (RuntimeError, ValueError, MemoryError):
        return {}
    return found


_STAGES = ("train_cls", "pseudo_masks", "train_seg")


def describe(seconds: Seconds) -> str:
    """`train-cls 12 min, train-seg 1.5 h: about 1.7 h in all`."""
    parts = ", ".join(f"{command} {spoken(taken)}" for command, taken in seconds.items())
    return f"{parts}: about {spoken(sum(seconds.values()))} in all"


def spoken(seconds: float) -> str:
    """A time in two digits, since it is no better known."""
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            amount = seconds / size
            return f"{amount:.0f} {unit}" if amount >= 10 else f"{amount:.1f} {unit}"
    return f"{math.ceil(seconds)} s"


def _images(settings: OptimConfig, images: int) -> int:
    """Images that pass the network in a training."""
    return steps_of(settings.epochs, images, settings.batch_size) * settings.batch_size


def _timed(runtime: Runtime, work: Callable[[], Any]) -> float:
    """Seconds of the second call: the first one also makes what all share."""
    work()
    _wait(runtime)
    start = time.perf_counter()
    work()
    _wait(runtime)
    return time.perf_counter() - start


def _wait(runtime: Runtime) -> None:
    if runtime.device.type != "cpu":
        torch.get_device_module(runtime.device).synchronize()


def _training(
    model: torch.nn.Module,
    settings: OptimConfig,
    crop: int,
    loss: Callable[[Tensor], Tensor],
    runtime: Runtime,
) -> float:
    """Seconds per image of a step on black crops."""
    part = max(settings.batch_size // settings.accumulate, 1)
    images = part if runtime.device.type != "cpu" else min(part, AT_ONCE)
    crops = torch.zeros(max(images, settings.least_images), 3, crop, crop, device=runtime.device)

    def step() -> None:
        with runtime.autocast():
            found = loss(crops)
        found.backward()

    model.train()
    try:
        return _timed(runtime, step) / len(crops)
    finally:
        model.zero_grad(set_to_none=True)
        model.eval()


def _train_cls(
    config: RunConfig, tagged: TaggedDataset, model: TagClassifier, runtime: Runtime
) -> float:
    settings = config.train_cls

    def loss(crops: Tensor) -> Tensor:
        tags = crops.new_zeros(len(crops), len(tagged.class_names))
        return model.loss(model(crops), tags, settings.slot_loss)

    dataset = TagTrainingSet(tagged, settings.crop, config.seed, max_side=config.data.max_side)
    # beside workers, reading takes no time
    reading = 0.0 if runtime.workers else _timed(runtime, lambda: dataset[0, len(tagged) // 2])
    return reading + _training(model, settings, settings.crop, loss, runtime)


def _features(config: RunConfig, sample: Sample, model: TagClassifier, runtime: Runtime) -> float:
    """Seconds per image of a backbone that is left as it is; the heads take hardly any."""

    def work() -> None:
        pixels = _pixels(sample, config.data.max_side, runtime)
        with network_autocast(runtime)():
            features_of(model, normalise_pixels(pixels))

    return _timed(runtime, work)


def _train_seg(config: RunConfig, model: Segmenter, runtime: Runtime) -> float:
    settings = config.train_seg

    def loss(crops: Tensor) -> Tensor:
        target = torch.zeros(len(crops), *crops.shape[-2:], dtype=torch.long, device=crops.device)
        return mask_loss(settings.loss, model(crops), target)

    return _training(model, settings, settings.crop, loss, runtime)


def _pixels(sample: Sample, max_side: int | None, runtime: Runtime) -> Tensor:
    return to_device([load(sample, max_side).image], runtime.device)


def _seeds(config: RunConfig, sample: Sample, model: TagClassifier, runtime: Runtime) -> float:
    own, watch = config.pseudo_masks, Stopwatch(runtime.device)
    crf = make_crf(own.crf, own.crf_iterations, own.crf_backend)
    autocast = network_autocast(runtime)

    def work() -> None:
        pixels = _pixels(sample, config.data.max_side, runtime)
        (soft,) = soft_seeds(model, pixels, [sample.tags], own, watch, autocast)
        probs = seed_probs(soft, tuple(pixels.shape[-2:]), own, config.data.background)
        refine(list(pixels), [probs], crf, config.data.background)

    return _timed(runtime, work)


def _masks(
    config: RunConfig,
    sample: Sample,
    classifier: TagClassifier,
    segmenter: Segmenter,
    runtime: Runtime,
) -> float:
    own, watch = config.self_training, Stopwatch(runtime.device)
    crf, autocast = make_crf(own.crf, own.crf_iterations), network_autocast(runtime)

    def work() -> None:
        pixels = _pixels(sample, config.data.max_side, runtime)
        with autocast():
            (probs,) = predict_views(segmenter, pixels.float() / 255, [View(own.scales, own.flip)])
        own_probs = among_tags(probs[0], sample.labels)
        if own.seeds:
            soft_seeds(classifier, pixels, [sample.tags], config.pseudo_masks, watch, autocast)
        refine(list(pixels), [own_probs], crf, config.data.background)

    return _timed(runtime, work)


def _predict(config: RunConfig, sample: Sample, model: Segmenter, runtime: Runtime) -> float:
    modes = list(config.evaluate.columns().values())

    def work() -> None:
        pixels = _pixels(sample, config.evaluate.max_side, runtime)
        size = (pixels.shape[-2], pixels.shape[-1])
        tile, autocast = config.evaluate.tile, network_autocast(runtime)
        predict_images(model, pixels, modes, [size], tile, autocast)

    return _timed(runtime, work)
