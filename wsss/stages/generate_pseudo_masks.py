"""Stage 2: images + tags → probabilities of each image's labels → CRF → pseudo-masks.

In the first round the probabilities are seeds of the classifier, `train_cls/model.safetensors`,
kept in `seeds/<id>.npz` where that is asked for; in a self-training round they are those of the
former round's segmenter, `train_seg/model.safetensors`. Writes `pseudo_masks/<id>.png`, each image
by itself, so that a killed stage resumes where it stopped, and processes and shards share the work;
at the end `pseudo_masks/scores.csv`: how uncertain each mask is.
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.config import RunConfig
from wsss.crf import DenseCRF, make_crf
from wsss.data.augment import normalise_pixels, resize_mask
from wsss.data.images import Sample
from wsss.data.mask_io import read_mask, write_class_names, write_mask
from wsss.data.scores import write_scores
from wsss.engine.checkpoint import load_trained
from wsss.engine.inference import (
    Loaded,
    Steps,
    costly_first,
    from_device,
    load,
    network_autocast,
    process,
    to_device,
)
from wsss.engine.profile import Stopwatch
from wsss.engine.runtime import Runtime, join, start
from wsss.engine.stage_work import begin, take_on
from wsss.errors import WsssError
from wsss.files import names_below, write_atomic
from wsss.labels import IGNORE_INDEX
from wsss.metrics.uncertainty import overlaps
from wsss.models.classifier import build_classifier
from wsss.models.doubts import doubt_of, signs_of
from wsss.models.inference import View, predict_views
from wsss.models.multiscale import check_walks
from wsss.models.segmenter import build_segmenter
from wsss.models.soft_seeds import SoftSeeds, seed_probs, soft_seeds
from wsss.run.state import Run, Work
from wsss.seeding.indexing import index_tensor
from wsss.seeding.masks import (
    among_tags,
    at_true_rates,
    harden,
    mix_in,
    refine,
    seed_mask,
)


def run(
    config: RunConfig,
    overwrite: bool = False,
    shard: tuple[int, int] = (0, 1),
    recomputed: str | None = None,
) -> Path:
    """Make the pseudo-masks of a run's round, or the rest of them; returns their folder.

    Args:
        config: of the round.
        overwrite: recompute all of them.
        shard: (i, n) takes every n-th image, from the i-th.
        recomputed: the first stage that is going to be recomputed, whose settings may differ.
    """
    team = join()
    first = config.round == 1
    if not first:
        team.once(lambda: _require_former(config))
    data, work, needed = take_on(team, config, "pseudo_masks", overwrite, recomputed)
    folder = work.run.stage("pseudo_masks")
    if not needed:
        return folder
    if first:
        team.once(lambda: work.run.require("train_cls"))
    background, kept = config.data.background, first and config.pseudo_masks.keep_seeds
    with team.together():
        runtime = start(config.runtime, config.seed)
        watch = Stopwatch(runtime.device)
        crf, confidence = _crf_and_confidence(config)
        source = (FromSeeds if first else FromSegmenter)(config, data.class_names, runtime, watch)
    begin(team, work, "" if shard == (0, 1) else f"-{shard[0]}-of-{shard[1]}")
    team.once(lambda: write_class_names(folder, data.class_names))

    @torch.inference_mode()
    def compute(batch: list[Loaded]) -> list[Made]:
        pixels = to_device([one.image for one in batch], runtime.device)
        origins = source([one.sample for one in batch], pixels)
        with watch("crf"):
            probs = refine(list(pixels), [one.probs for one in origins], crf, background)
        masks = torch.stack(
            [
                harden(prob, one.sample.labels, confidence, background)
                for one, prob in zip(batch, probs, strict=True)
            ]
        )
        with watch("scores"):
            signs = [
                signs_of(one.probs, prob, mask, one.labels, one.before, one.likely)
                for one, prob, mask in zip(origins, probs, masks, strict=True)
            ]
            said = from_device(signs)
        made = zip(batch, masks.cpu().numpy(), [one.soft for one in origins], said, strict=True)
        return [Made(*one) for one in made]

    def write(made: Made) -> None:
        sample, soft = made.loaded.sample, made.soft
        if soft is not None and kept:
            write_atomic(work.run.seed(sample.id), soft.save)
        # last: an image with a mask is finished
        mask = resize_mask(made.mask, made.loaded.size)
        note = doubt_of(sample.labels, made.signs).note()
        write_mask(work.run.pseudo_mask(sample.id), mask, note=note)

    steps = Steps(
        partial(load, max_side=config.data.max_side), lambda one: one.image.shape, compute, write
    )
    ids = [sample.id for sample in data.samples]
    share = range(shard[0], len(ids), shard[1])
    todo = team.once(
        lambda: costly_first(
            _missing(work, ids, share, kept), data.samples, config.data.max_side, team
        )
    )
    skip = config.data.skip_damaged
    items = [data.samples[i] for i in todo]
    usage, _ = process(items, steps, runtime, "generate-pseudo-masks", skip)
    for seconds in team.others(watch.seconds):
        watch.add(seconds)
    per_image = watch.per_unit(len(todo))
    if todo and team.is_main:
        parts = ", ".join(f"{part} {ms:.1f}" for part, ms in per_image.items())
        print(f"generate-pseudo-masks  {usage}  ms per image: {parts}", file=sys.stderr)

    def finish() -> None:
        made = _finished(work.run, kept)
        left = [image_id for image_id in ids if image_id not in made]
        if left and not skip and shard == (0, 1):
            raise WsssError(
                f"{len(left)} of {len(ids)} pseudo-masks have gone from {folder} since they were "
                f"made, {left[0]} first: put the folder back, and start the command again."
            )
        # what another shard still makes is no damaged image: only a whole start knows
        if not left or (skip and shard == (0, 1)):
            timing = {"timed_images": len(todo), "ms_per_image": per_image}
            write_scores(folder, data.class_names)
            work.finish({"images": len(ids) - len(left), "left_out": left, **timing})
        work.release()

    team.once(finish)
    return folder


class Made(NamedTuple):
    """A finished image.

    Attributes:
        loaded: the image.
        mask: at the size it was computed at.
        soft: seeds of the first round.
        signs: of uncertainty, as `signs_of` puts them together.
    """

    loaded: Loaded
    mask: NDArray[np.uint8]
    soft: SoftSeeds | None
    signs: Tensor


def _finished(run: Run, with_seeds: bool) -> set[str]:
    """Ids of the images that are made."""
    masks = names_below(run.pseudo_masks, ".png")
    return masks & names_below(run.seeds, ".npz") if with_seeds else masks


def _missing(work: Work, ids: Sequence[str], share: range, with_seeds: bool) -> list[int]:
    """What of a shard's share has to be made, as indices."""
    for i in share if work.overwrite else ():
        # now, not one by one: if this start is cut short, the next may not keep an old mask
        work.run.pseudo_mask(ids[i]).unlink(missing_ok=True)
    finished = _finished(work.run, with_seeds)
    return [i for i in share if ids[i] not in finished]


def _require_former(config: RunConfig) -> None:
    option = f" --round {config.round - 1}" if config.round > 2 else ""
    Run.of_round(config, config.round - 1).require("train_seg", option)


def _crf_and_confidence(config: RunConfig) -> tuple[DenseCRF | None, float]:
    if config.round == 1:
        own = config.pseudo_masks
        return make_crf(own.crf, own.crf_iterations, own.crf_backend), own.confidence
    later = config.self_training
    return make_crf(later.crf, later.crf_iterations), later.confidence


class Origin(NamedTuple):
    """What the mask of an image is made from.

    Attributes:
        labels: L mask values of its tags.
        probs: (L + 1, H, W), background first, each pixel summing to 1.
        soft: seeds of the first round.
        before: (2, L + 1), its `overlaps` with the plain CAM, or with the former round's mask; 0
            where there is none.
        likely: (L,), the classifier's probabilities of the tags; empty where it wasn't asked.
    """

    labels: list[int]
    probs: Tensor
    soft: SoftSeeds | None
    before: Tensor
    likely: Tensor


class FromSeeds:
    """Probabilities by the classifier: class activation → slots → seeds."""

    def __init__(
        self, config: RunConfig, class_names: tuple[str, ...], runtime: Runtime, watch: Stopwatch
    ) -> None:
        self.settings, self.watch = config.pseudo_masks, watch
        self.background = config.data.background
        self.levels = self.settings.levels_by_value(class_names)
        self.autocast = network_autocast(runtime)
        weights = Run(config.run).model("train_cls")
        self.model, _ = load_trained(
            weights, "classifier", build_classifier, runtime.device, class_names
        )
        check_walks(self.settings.seeding, self.model)

    def __call__(self, samples: Sequence[Sample], pixels: Tensor) -> list[Origin]:
        """Of images (B, 3, H, W) uint8 of one shape."""
        tags = [sample.tags for sample in samples]
        softs = soft_seeds(self.model, pixels, tags, self.settings, self.watch, self.autocast)
        size = tuple(pixels.shape[-2:])
        return [
            Origin(
                soft.labels,
                seed_probs(soft, size, self.settings, self.background, self.levels),
                soft,
                self._walked(soft),
                soft.likely,
            )
            for soft in softs
        ]

    def _walked(self, soft: SoftSeeds) -> Tensor:
        """What the walk changed: the overlaps of the plain CAM's hard seed with the seed's."""
        size, rule = tuple(soft.seed.shape[-2:]), self.settings.background
        values = torch.arange(1, len(soft.labels) + 1, device=soft.seed.device)
        cam, seed = (
            seed_mask(soft.above(scores, rule, size, self.levels), values, self.background)
            for scores in (soft.cam, soft.seed)
        )
        return overlaps(cam, seed, len(soft.labels))


class FromSegmenter:
    """Probabilities by the former round's segmenter, given the tags.

    It was trained on masks of many images, so it knows a class better than a single image's seeds
    do, and the tags forbid what it mistakes for another.
    """

    def __init__(
        self, config: RunConfig, class_names: tuple[str, ...], runtime: Runtime, watch: Stopwatch
    ) -> None:
        self.former = Run.of_round(config, config.round - 1)
        self.settings, self.watch = config.self_training, watch
        self.autocast = network_autocast(runtime)
        weights = self.former.model("train_seg")
        self.model, metadata = load_trained(
            weights, "segmenter", build_segmenter, runtime.device, class_names
        )
        self.background_odds = float(metadata.get("background_odds", 1.0))

    def __call__(self, samples: Sequence[Sample], pixels: Tensor) -> list[Origin]:
        """Of images (B, 3, H, W) uint8 of one shape."""
        view = View(self.settings.scales, self.settings.flip)
        with self.watch("network"), self.autocast():
            (probs,) = predict_views(self.model, normalise_pixels(pixels), [view])
        return [self._origin(own, sample) for own, sample in zip(probs, samples, strict=True)]

    def _origin(self, probs: Tensor, sample: Sample) -> Origin:
        """With the former round's mask of the image mixed in, where there is one."""
        path, labels = self.former.pseudo_mask(sample.id), sample.labels
        probs = at_true_rates(among_tags(probs, labels), self.background_odds)
        unknown, unasked = probs.new_zeros(2, len(labels) + 1), probs.new_empty(0)
        # a round may take images that the former left out
        if not path.is_file():
            return Origin(labels, probs, None, unknown, unasked)
        old = torch.from_numpy(resize_mask(read_mask(path), (probs.shape[1], probs.shape[2])))
        old = old.to(probs.device, non_blocking=True)
        channel = [IGNORE_INDEX] * 256
        for i, value in enumerate((0, *labels)):
            channel[value] = i
        known = index_tensor(channel, probs.device)[old.long()]
        before = overlaps(known, probs.max(dim=0).indices, len(labels))
        if self.settings.former_masks:
            probs = mix_in(probs, old, labels, self.settings.former_masks)
        return Origin(labels, probs, None, before, unasked)
