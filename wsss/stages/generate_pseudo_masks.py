"""Stage 2: images + tags → probabilities of each image's labels → CRF → pseudo-masks.

In the first round the probabilities are seeds of the classifier, `train_cls/model.safetensors`,
kept in `seeds/<id>.npz` where that is asked for; in a self-training round they are those of the
former round's segmenter, `train_seg/model.safetensors`, times the seeds. Writes
`pseudo_masks/<id>.png`, each image by itself, so that a killed stage resumes where it stopped, and
processes and shards share the work; at the end `pseudo_masks/scores.csv`: how uncertain each mask
is.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsss.config import RunConfig
from wsss.crf import DenseCRF, make_crf
from wsss.data.augment import resize_mask
from wsss.data.images import Sample
from wsss.data.mask_io import write_class_names, write_mask
from wsss.data.scores import write_scores
from wsss.engine.inference import Loaded, Steps, costly_first, from_device, process, to_device
from wsss.engine.profile import Stopwatch
from wsss.engine.runtime import join, start
from wsss.engine.stage_work import begin, take_on
from wsss.errors import WsssError
from wsss.files import names_below, write_atomic
from wsss.models.doubts import doubt_of, require_finite, signs_of
from wsss.models.mask_sources import FromSeeds, FromSegmenter, Given
from wsss.models.soft_seeds import SoftSeeds
from wsss.run.state import Run, Work
from wsss.seeding.masks import harden, refine


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
    if not overwrite:
        team.once(lambda: _warn_of_replaced(work.run, data.samples))
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
    def compute(batch: list[Given]) -> list[Made]:
        pixels = to_device([one.loaded.image for one in batch], runtime.device)
        origins = source(batch, pixels)
        with watch("crf"):
            probs = refine(list(pixels), [one.probs for one in origins], crf, background)
        masks = torch.stack(
            [
                harden(prob, one.loaded.sample.labels, confidence, background)
                for one, prob in zip(batch, probs, strict=True)
            ]
        )
        with watch("scores"):
            signs = [
                signs_of(one.probs, prob, mask, one.labels, one.before, one.likely)
                for one, prob, mask in zip(origins, probs, masks, strict=True)
            ]
            said = from_device(signs)
        found = zip(batch, masks.cpu().numpy(), origins, said, strict=True)
        return [Made(one.loaded, mask, origin.soft, own) for one, mask, origin, own in found]

    def write(made: Made) -> None:
        sample, soft = made.loaded.sample, made.soft
        path, doubt = work.run.pseudo_mask(sample.id), doubt_of(sample.labels, made.signs)
        require_finite(doubt, path)
        if soft is not None and kept:
            write_atomic(work.run.seed(sample.id), soft.save)
        # last: an image with a mask is finished
        mask = resize_mask(made.mask, made.loaded.size)
        write_mask(path, mask, note=doubt.note())

    steps = Steps(source.read, lambda one: one.loaded.image.shape, compute, write)
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


def _warn_of_replaced(run: Run, samples: Sequence[Sample]) -> None:
    """Say which images are newer than masks that are kept; where all are, they were copied."""
    made = names_below(run.pseudo_masks, ".png")
    kept = [sample for sample in samples if sample.id in made]
    newer = [
        sample.path
        for sample in kept
        if sample.path.is_file()  # one that is gone is refused where it is read
        and sample.path.stat().st_ctime_ns > run.pseudo_mask(sample.id).stat().st_mtime_ns
    ]
    if newer and len(newer) < len(kept):
        print(
            f"warning: {len(newer)} of {len(kept)} images, {newer[0]} first, are newer than their "
            "pseudo-masks, which are kept: if they were replaced, add --overwrite to `wsss "
            "generate-pseudo-masks`.",
            file=sys.stderr,
        )


def _require_former(config: RunConfig) -> None:
    option = f" --round {config.round - 1}" if config.round > 2 else ""
    Run.of_round(config, config.round - 1).require("train_seg", option)
    if config.self_training.seeds:
        Run.of_round(config, 1).require("train_cls")


def _crf_and_confidence(config: RunConfig) -> tuple[DenseCRF | None, float]:
    if config.round == 1:
        own = config.pseudo_masks
        return make_crf(own.crf, own.crf_iterations, own.crf_backend), own.confidence
    later = config.self_training
    return make_crf(later.crf, later.crf_iterations), later.confidence
