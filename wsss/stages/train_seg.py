"""Stage 3: images + pseudo-masks → segmenter.

Reads `pseudo_masks/<id>.png` of the run, and in their place the trusted masks that a person gives;
never a true mask. Writes `train_seg/model.safetensors`.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsss.config import RunConfig
from wsss.data.augment import normalise_pixels
from wsss.data.given_masks import GivenMasks
from wsss.data.images import TaggedDataset
from wsss.data.mask_io import check_values, read_mask
from wsss.data.masks import MaskTrainingSet
from wsss.engine.checkpoint import load_weights, read_metadata
from wsss.engine.progress import track
from wsss.engine.runtime import join, start
from wsss.engine.stage_work import take_on
from wsss.engine.train_stage import deliver, train_stage
from wsss.errors import WsssError
from wsss.files import names_below, read_json
from wsss.labels import IGNORE_INDEX
from wsss.models.backbone import create_backbone
from wsss.models.mask_loss import mask_loss
from wsss.models.segmenter import Segmenter, build_segmenter, segmenter_metadata
from wsss.models.start_from import start_file
from wsss.models.timm_backbone import create_timm_backbone
from wsss.models.trained import load_classifier, load_segmenter
from wsss.run.fingerprint import content_digest
from wsss.run.state import Run, Work

_COUNTED = 1000
"""Masks whose pixels are counted, at most."""

_MASKS = "masks"
"""Key of the digest of the pseudo-masks, in the mark of a finished segmenter."""

_START = "start"
"""Key of the digest of the file that `train_seg.start_from` names, there too."""

_AGAIN = "add --overwrite to `wsss train-seg` to train again"

_SHAPE = ("backbone", "backbone_args", "decoder", "decoder_args")
"""What of a segmenter's metadata its weights depend on, beside its classes."""


def run(config: RunConfig, overwrite: bool = False) -> Path:
    """Train the segmenter of a run, or go on with it; returns the path of its weights."""
    team = join()
    tagged, work, needed = take_on(team, config, "train_seg", overwrite)
    path = work.run.model("train_seg")
    if not needed:
        team.once(lambda: _refuse_newer_masks(work.run, tagged))
        team.once(lambda: _refuse_other_start(config, tagged.class_names))
        return path
    team.once(lambda: work.run.require("pseudo_masks"))
    trusted = team.once(lambda: trusted_masks(config, tagged))
    with team.together():
        runtime = start(config.runtime, config.seed)
        dataset = _crops(work, tagged, trusted)
        metadata = segmenter_metadata(config, tagged.class_names)
        model, start_of = _build(config, metadata)
        model.to(runtime.device)
    if start_of is not None and team.is_main:
        print(f"train-seg  {start_of}", file=sys.stderr)
    team.once(lambda: _check_newer_masks(work.run, dataset, tagged.class_names))
    made_of = team.once(lambda: content_digest(_masks(work.run, tagged)))
    begun_with = team.once(lambda: _digest_of_start(config, tagged.class_names))
    metadata["background_odds"] = team.once(lambda: _background_odds(config, dataset))

    def loss_function(trained: nn.Module, batch: Sequence[Tensor]) -> Tensor:
        image, mask, vouched = batch
        target = mask.long()
        if not config.data.background:
            target = target.masked_fill(target == 0, IGNORE_INDEX)
        logits = trained(normalise_pixels(image))
        some = vouched if trusted else None
        return mask_loss(config.train_seg.loss, logits, target, team.total, some)

    rate = config.train_seg.backbone_lr_factor
    train_stage(work, runtime, model, model.encoder, rate, dataset, loss_function)
    summary = {"images": len(dataset), "trusted": len(trusted), _MASKS: made_of, _START: begun_with}
    team.once(lambda: deliver(work, model, metadata, summary))
    return path


def trusted_masks(config: RunConfig, tagged: TaggedDataset) -> dict[str, Path]:
    """Image id → PNG of every mask that a person gives for these images; read whole, once.

    Raises:
        WsssError: they can't be read, or one has another size or a class that is none.
    """
    if config.data.trusted is None:
        return {}
    given = GivenMasks(config.data.trusted, tagged)
    given.require_some()
    folder = given.write(Run(config.run).trusted_copies, track, "trusted masks")
    others = f" ({len(given.others)} are of other images)" if given.others else ""
    print(f"trusted masks of {len(given.samples)} of {len(tagged)} images{others}", file=sys.stderr)
    return {sample.id: folder / f"{sample.id}.png" for sample in given.samples}


def _check_newer_masks(run: Run, dataset: MaskTrainingSet, class_names: Sequence[str]) -> None:
    """Refuse values that are no classes in masks that were changed since they were made."""
    for changed in _newer([mask for _, mask in dataset.pairs], run.done("pseudo_masks")):
        check_values(changed, read_mask(changed), class_names)


def _refuse_newer_masks(run: Run, tagged: TaggedDataset) -> None:
    """Refuse to call a segmenter finished whose masks were changed since it was trained."""
    masks = _masks(run, tagged)
    newer = _newer(masks, run.done("train_seg"))
    if not newer:
        return
    # a copy of a run has other times
    if read_json(run.done("train_seg"), _AGAIN).get(_MASKS) != content_digest(masks):
        raise WsssError(
            f"{len(newer)} of {len(masks)} pseudo-masks, {newer[0]} first, are newer than the "
            f"segmenter of {run.root}: add --overwrite to `wsss train-seg` to train on them."
        )


def _digest_of_start(config: RunConfig, class_names: Sequence[str]) -> str | None:
    """Of the file that a user named; the packaged model is what the package says it is."""
    if not isinstance(config.train_seg.start_from, Path):
        return None
    file = start_file(config, class_names)
    return None if file is None else content_digest([file])


def _refuse_other_start(config: RunConfig, class_names: Sequence[str]) -> None:
    """Refuse to call a segmenter finished that went on from another file of the same name."""
    try:
        now = _digest_of_start(config, class_names)
    except WsssError:  # it has gone, and isn't needed any more
        return
    before = read_json(Run(config.run).done("train_seg"), _AGAIN).get(_START)
    if before and now and before != now:
        raise WsssError(
            f"{config.run} has a segmenter that went on from another file than "
            f"{config.train_seg.start_from}: name that one, or {_AGAIN} from this one."
        )


def _masks(run: Run, tagged: TaggedDataset) -> list[Path]:
    """The pseudo-masks that there are."""
    made = names_below(run.pseudo_masks, ".png")
    return [run.pseudo_mask(sample.id) for sample in tagged.samples if sample.id in made]


def _background_odds(config: RunConfig, dataset: MaskTrainingSet) -> float:
    """Background pixels / foreground pixels of a sample of the masks, where the loss hides it.

    1 where the loss doesn't balance them, or one of them is missing.
    """
    if not (config.train_seg.loss.balanced and config.data.background):
        return 1.0
    step = -(-len(dataset) // _COUNTED)
    counts = np.zeros(IGNORE_INDEX + 1, np.int64)
    for _, mask in dataset.pairs[::step]:
        counts += np.bincount(read_mask(mask).ravel(), minlength=len(counts))
    background, foreground = int(counts[0]), int(counts[1:IGNORE_INDEX].sum())
    return background / foreground if background and foreground else 1.0


def _newer(paths: Sequence[Path], mark: Path) -> list[Path]:
    """The files that were changed since a mark was written."""
    written = mark.stat().st_mtime_ns
    return [path for path in paths if path.stat().st_mtime_ns > written]


def _build(config: RunConfig, metadata: dict[str, Any]) -> tuple[Segmenter, str | None]:
    """A segmenter with the weights it starts from, and what these are where that isn't plain."""
    torch.manual_seed(config.seed)
    model = build_segmenter(metadata)
    named, names = config.train_seg.start_from, metadata["class_names"]
    if (path := former(config, metadata)) is not None:
        load_weights(path, model)
        passed_over = named not in (None, "auto")
        fresh = " (self_training.start=fresh: from train_seg.start_from)" if passed_over else ""
        return model, f"goes on from {path}{fresh}"
    if (path := start_file(config, names)) is not None:
        other, card = load_segmenter(path, torch.device("cpu"))
        known = model.take_over(other, card["class_names"], names)
        chosen = " (train_seg.start_from=null: from a backbone alone)" if named == "auto" else ""
        classes = f"{len(known)} of {len(names)} classes"
        return model, f"goes on from {path}, which knows {classes} by name{chosen}"
    model.load_backbone(_backbone(config))
    if config.round == 1 or config.self_training.start == "fresh":
        return model, None
    backbone, decoder, own = (metadata[key] for key in ("backbone", "decoder", "decoder_args"))
    return model, (
        "starts afresh: no earlier segmenter has this backbone and decoder, "
        f"{backbone} and {decoder} {own}"
    )


def _backbone(config: RunConfig) -> nn.Module:
    """The backbone that a segmenter starts from, with its weights."""
    settings, own = config.train_seg, config.backbone
    if settings.backbone is not None:
        return create_timm_backbone(settings.backbone, settings.backbone_weights)
    if settings.from_classifier:
        weights = Run.of_round(config, 1).model("train_cls")
        return load_classifier(weights, torch.device("cpu")).glnet
    return create_backbone(own.name, own.weights, own.args)


def former(config: RunConfig, metadata: dict[str, Any]) -> Path | None:
    """The segmenter that a later round goes on from: the last one of the shape it needs."""
    if config.self_training.start == "former":
        for number in range(config.round - 1, 0, -1):
            path = Run.of_round(config, number).model("train_seg")
            known = read_metadata(path, "segmenter") if path.is_file() else {}
            if all(known.get(key) == metadata[key] for key in _SHAPE):
                return path
    return None


def _crops(work: Work, tagged: TaggedDataset, trusted: Mapping[str, Path]) -> MaskTrainingSet:
    config, settings = work.config, work.config.train_seg
    pairs = [
        (sample.path, trusted.get(sample.id, work.run.pseudo_mask(sample.id)))
        for sample in tagged.samples
    ]
    if config.data.skip_damaged:  # what stage 2 left out
        pairs = [(image, mask) for image, mask in pairs if mask.is_file()]
    return MaskTrainingSet(
        pairs,
        settings.crop,
        config.seed,
        scale=settings.scale,
        jitter=settings.jitter,
        paste=settings.paste if config.data.background else 0.0,
        max_side=config.data.max_side,
        trusted=frozenset(trusted.values()),
    )
