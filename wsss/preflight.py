"""What would stop or spoil a later stage, found before anything is trained."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import torch

from wsss import estimate
from wsss.config import DataConfig, RunConfig
from wsss.crf import make_crf
from wsss.data.check_images import damaged_images
from wsss.data.check_masks import MaskReport, check_true_masks, require
from wsss.data.describe import describe_data
from wsss.data.given_masks import GivenMasks
from wsss.data.images import TaggedDataset
from wsss.data.masks import has_truth, masks_root, true_masks, with_truth, without_masks
from wsss.data.open import choose_masked, list_ids, open_tagged
from wsss.engine.checkpoint import read_metadata
from wsss.engine.progress import track
from wsss.engine.runtime import start
from wsss.engine.train_stage import few_steps
from wsss.errors import WsssError
from wsss.models.backbone_pair import SECOND
from wsss.models.classifier import TagClassifier, new_classifier
from wsss.models.multiscale import check_walks
from wsss.models.segmenter import Segmenter, build_segmenter, segmenter_metadata
from wsss.models.start_from import start_file
from wsss.models.timm_backbone import create_timm_backbone
from wsss.models.trained import load_segmenter
from wsss.run.state import Run
from wsss.stages import evaluate, train_seg

Opened = Callable[[str], TaggedDataset]
"""The images of a list, which is read once."""


def reader(data: DataConfig) -> Opened:
    """Reads each list once; one's own images have none, and are read once."""
    read = cache(partial(open_tagged, data))
    return read if data.root is not None else lambda _: read(data.train_split)


def check(config: RunConfig, overwrite: bool = False) -> None:
    """Check all that can be checked of a run's settings and data; show what the data hold.

    Args:
        config: of the run.
        overwrite: finished stages are going to be recomputed.

    Raises:
        WsssError: a later stage would be stopped or spoilt.
    """
    _check_crfs(config)
    data = config.data
    opened = reader(data)
    scored = _scored_splits(data, opened)
    class_names = _check_splits(config, opened, scored)
    _check_data(config, opened, scored)
    _check_trusted(data, opened)
    networks = _check_networks(config, class_names, overwrite)
    _say_how_long(config, opened, scored, networks)


def scored_kinds(data: DataConfig) -> tuple[evaluate.Kind, ...]:
    """The kinds of masks that have ground truth to be scored on."""
    scored = _scored_splits(data, reader(data))
    return tuple(kind for kind in evaluate.KINDS if evaluate.split_of(data, kind) in scored)


def _check_trusted(data: DataConfig, opened: Opened) -> None:
    """Refuse masks that a person gives and that don't fit."""
    if data.trusted is not None:
        given = GivenMasks(data.trusted, opened(data.mask_split))
        given.require_some()
        require(MaskReport(given.problems(), []))


def _check_crfs(config: RunConfig) -> None:
    """Refuse a CRF that doesn't exist."""
    for name in (
        config.pseudo_masks.crf,
        config.evaluate.crf,
        config.evaluate.test_crf,
        config.self_training.crf,
    ):
        make_crf(name)


def _check_networks(
    config: RunConfig, class_names: Sequence[str], overwrite: bool
) -> tuple[TagClassifier, Segmenter]:
    """Refuse walks and decoders that the networks don't have, and weights that can't be had.

    Returns:
        Classifier and segmenter, untrained.
    """
    classifier = new_classifier(config, len(class_names), trained=False)
    check_walks(config.pseudo_masks.seeding, classifier)
    config.pseudo_masks.levels_by_value(class_names)
    run = Run(config.run)
    trained = run.model("train_seg")
    if run.finished("train_seg") and trained.is_file() and not overwrite:
        metadata = read_metadata(trained, "segmenter")  # what it started from may have gone
    else:
        metadata = segmenter_metadata(config, class_names)
    segmenter = build_segmenter(metadata)
    _check_weights(config, metadata, overwrite)
    return classifier, segmenter


def check_segmenter(config: RunConfig, overwrite: bool = False) -> None:
    """Refuse a segmenter of a later round that can't be built or started, or trusted masks of it.

    Nothing else asks for them before the round's masks are made.
    """
    if overwrite or not Run(config.run).finished("train_seg"):
        metadata = segmenter_metadata(config, ("any",))
        build_segmenter(metadata)
        _check_weights(config, metadata, overwrite)
        _check_trusted(config.data, reader(config.data))


def _check_weights(config: RunConfig, metadata: dict[str, Any], overwrite: bool) -> None:
    heads, settings = config.train_cls, config.train_seg
    first, run = Run.of_round(config, 1), Run(config.run)
    again = overwrite and config.round == 1
    if heads.second_backbone is not None and (again or not first.finished("train_cls")):
        create_timm_backbone(heads.second_backbone, heads.second_backbone_weights, SECOND)
    if run.finished("train_seg") and not overwrite:
        return
    other = start_file(config, metadata["class_names"])
    if (other or settings.backbone) is None or train_seg.former(config, metadata) is not None:
        return
    if other is not None:
        load_segmenter(other, torch.device("cpu"))
        decoder = {key: metadata[key] for key in ("decoder", "decoder_args")}
        least = settings.model_copy(update=decoder).least_images
        if settings.batch_size // settings.accumulate < least:
            raise WsssError(
                f"{other} has the decoder {metadata['decoder']}, which takes {least} images at "
                f"once at least; train_seg.batch_size is {settings.batch_size} and accumulate "
                f"{settings.accumulate}: raise batch_size, or lower accumulate."
            )
    elif settings.backbone is not None:
        create_timm_backbone(settings.backbone, settings.backbone_weights)


def _say_how_long(
    config: RunConfig,
    opened: Opened,
    scored: Sequence[str],
    networks: tuple[TagClassifier, Segmenter],
) -> None:
    """Say what the stages that aren't finished will take on this machine."""
    data = config.data
    masked = choose_masked(data, config.seed, opened(data.mask_split))
    predicted = len(opened(data.val_split)) if data.val_split in scored else 0
    runtime = start(config.runtime, config.seed)
    tagged = opened(data.train_split)
    found = estimate.estimate(config, tagged, len(masked), predicted, networks, runtime)
    if found:
        print(f"estimate, by a few images here: {estimate.describe(found)}", file=sys.stderr)
    warning = few_steps("train_seg", config.train_seg, len(masked))
    if warning and not Run(config.run).finished("train_seg"):  # the classifier's comes at once
        print(warning, file=sys.stderr)


def _check_splits(config: RunConfig, opened: Opened, scored: Sequence[str]) -> tuple[str, ...]:
    """Refuse lists that don't exist, and those on which nothing could be scored in the end.

    Returns:
        The names of the classes.
    """
    data = config.data
    tagged = choose_masked(data, config.seed, opened(data.mask_split))
    masked = {sample.id for sample in tagged.samples}
    if data.root is None or data.score_split not in scored:
        return tagged.class_names
    scored_here = with_truth(data, opened(data.score_split)).samples
    without = [sample.id for sample in scored_here if sample.id not in masked]
    if without:
        raise WsssError(
            f"{len(without)} images of data.score_split={data.score_split} get no pseudo-mask, "
            f"the first {without[0]}: choose a data.score_split within "
            f"data.mask_split={data.mask_split}, or raise data.mask_images."
        )
    return tagged.class_names


def _check_data(config: RunConfig, opened: Opened, scored: Sequence[str]) -> None:
    """Show what the data hold, and refuse what would stop or spoil a later stage.

    Raises:
        WsssError: an image can't be read (unless `data.skip_damaged`), or a true mask that will be
            scored holds values that are no classes.
    """
    data = config.data
    described = describe_data(data, opened(data.train_split), config.train_cls.holdout, config.seed)
    print("\n".join(described.lines()), file=sys.stderr)
    val = (data.val_split,) if data.val_split in scored else ()
    splits = (data.train_split, data.mask_split, *val)
    damaged = damaged_images(s.path for split in splits for s in opened(split).samples)
    for sentence in damaged.values() if data.skip_damaged else ():
        print(f"left out: {sentence}", file=sys.stderr)
    if damaged and not data.skip_damaged:
        more = f" ({len(damaged) - 1} more: wsss check-data names them)" if len(damaged) > 1 else ""
        raise WsssError(
            f"{next(iter(damaged.values())).rstrip('.')}{more}; or leave such images out: "
            "data.skip_damaged=true."
        )
    root = masks_root(data)
    if root is not None:
        for key, what in (("score_split", "seeds and pseudo-masks"), ("val_split", "predictions")):
            split = getattr(data, key)
            if split not in scored:
                print(
                    f"no image of data.{key}={split} has a true mask: {what} are not scored",
                    file=sys.stderr,
                )
    check_truth(data, scored, [opened(split) for split in scored])


def check_truth(data: DataConfig, splits: Sequence[str], opened: Sequence[TaggedDataset]) -> None:
    """Refuse true masks on which every score would be wrong, and warn of what looks like a mistake.

    Args:
        data: where they are.
        splits: to be scored; those of a folder for COCO, whose masks are made here, are left alone.
        opened: their images.

    Raises:
        WsssError: masks hold values that are no classes, or void in the place of one.
    """
    root = masks_root(data)
    if not splits or (root is None and data.masks is None):
        return
    sets = [with_truth(data, tagged) for tagged in opened]
    report = check_true_masks(root or true_masks(data, splits[0], _together(sets), track), sets)
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    require(report)


def _together(sets: Sequence[TaggedDataset]) -> TaggedDataset:
    """The images of all sets, each once."""
    samples = {sample.id: sample for tagged in sets for sample in tagged.samples}
    return replace(sets[0], samples=tuple(samples.values()))


def _scored_splits(data: DataConfig, opened: Opened) -> tuple[str, ...]:
    """The lists with ground truth among those to score on; a list without any is not scored."""
    if not has_truth(data):
        return ()
    splits = dict.fromkeys((data.score_split, data.val_split))
    if data.masks is not None:
        some = tuple(s for s in splits if len(with_truth(data, opened(s))))
        if not some:
            GivenMasks(data.masks, opened(data.score_split)).require_some()
        return some
    root = masks_root(data)
    if root is None:  # made of instances, all of them
        return tuple(splits)
    ids = {split: list_ids(root, split) for split in splits}
    return tuple(s for s in splits if len(without_masks(root, ids[s])) < len(ids[s]))
