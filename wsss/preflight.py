"""What would stop or spoil a later stage, found before anything is trained."""

import sys
from collections.abc import Sequence

from wsss.config import DataConfig, RunConfig
from wsss.crf import make_crf
from wsss.data.check_images import damaged_images
from wsss.data.check_masks import check_true_masks, require
from wsss.data.describe import describe_data
from wsss.data.masks import has_masks, without_masks
from wsss.data.open import open_masked, open_tagged
from wsss.errors import WsssError
from wsss.formats.voc import split_ids
from wsss.models.classifier import new_classifier
from wsss.models.multiscale import check_walks
from wsss.models.segmenter import build_segmenter, segmenter_metadata
from wsss.stages import evaluate


def check(config: RunConfig) -> None:
    """Check all that can be checked of a run's settings and data; show what the data hold.

    Raises:
        WsssError: a later stage would be stopped or spoilt.
    """
    _check_crfs(config)
    class_names = _check_splits(config)
    _check_data(config)
    _check_networks(config, class_names)


def scored_kinds(data: DataConfig) -> tuple[evaluate.Kind, ...]:
    """The kinds of masks that have ground truth to be scored on."""
    scored = _scored_splits(data)
    return tuple(
        kind
        for kind in evaluate.KINDS
        if (data.val_split if kind == "predictions" else data.score_split) in scored
    )


def _check_crfs(config: RunConfig) -> None:
    """Refuse a CRF that doesn't exist."""
    settings = config.evaluate
    for name in (
        config.pseudo_masks.crf,
        settings.crf,
        settings.test_crf,
        config.self_training.crf,
    ):
        make_crf(name)


def _check_networks(config: RunConfig, class_names: Sequence[str]) -> None:
    """Refuse walks and decoders that the networks don't have."""
    untrained = config.backbone.model_copy(update={"weights": None})
    classifier = new_classifier(config.model_copy(update={"backbone": untrained}), len(class_names))
    check_walks(config.pseudo_masks.seeding, classifier)
    build_segmenter(segmenter_metadata(config, class_names))


def _check_splits(config: RunConfig) -> tuple[str, ...]:
    """Refuse lists that don't exist, and those on which nothing could be scored in the end.

    Returns:
        The names of the classes.
    """
    data = config.data
    tagged = open_masked(data, config.seed)
    masked = {sample.id for sample in tagged.samples}
    scored = _scored_splits(data)
    if data.val_split in scored:
        open_tagged(data, data.val_split)
    if data.root is None or data.score_split not in scored:
        return tagged.class_names
    without = [id_ for id_ in split_ids(data.root, data.score_split) if id_ not in masked]
    if without:
        raise WsssError(
            f"{len(without)} images of data.score_split={data.score_split} get no pseudo-mask, "
            f"the first {without[0]}: choose a data.score_split within "
            f"data.mask_split={data.mask_split}, or raise data.mask_images."
        )
    return tagged.class_names


def _check_data(config: RunConfig) -> None:
    """Show what the data hold, and refuse what would stop or spoil a later stage.

    Raises:
        WsssError: an image can't be read (unless `data.skip_damaged`), or a true mask that will be
            scored holds values that are no classes.
    """
    data = config.data
    described = describe_data(data, holdout=config.train_cls.holdout, seed=config.seed)
    print("\n".join(described.lines()), file=sys.stderr)
    listed = [open_tagged(data, split) for split in _splits(data)]
    damaged = damaged_images(s.path for tagged in listed for s in tagged.samples)
    for sentence in damaged.values() if data.skip_damaged else ():
        print(f"left out: {sentence}", file=sys.stderr)
    if damaged and not data.skip_damaged:
        more = f" ({len(damaged) - 1} more: wsss check-data names them)" if len(damaged) > 1 else ""
        raise WsssError(
            f"{next(iter(damaged.values())).rstrip('.')}{more}; or leave such images out: "
            "data.skip_damaged=true."
        )
    scored = _scored_splits(data)
    if data.root is not None and has_masks(data.root):
        for key, what in (("score_split", "seeds and pseudo-masks"), ("val_split", "predictions")):
            split = getattr(data, key)
            if split not in scored:
                print(
                    f"no image of data.{key}={split} has a true mask: {what} are not scored",
                    file=sys.stderr,
                )
    if scored:
        report = check_true_masks(data, scored)
        for warning in report.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        require(report)


def _scored_splits(data: DataConfig) -> tuple[str, ...]:
    """The lists with ground truth among those to score on; a list without any is not scored."""
    if data.root is None or not has_masks(data.root):
        return ()
    splits = dict.fromkeys((data.score_split, data.val_split))
    ids = {split: split_ids(data.root, split) for split in splits}
    return tuple(s for s in splits if len(without_masks(data.root, ids[s])) < len(ids[s]))


def _splits(data: DataConfig) -> tuple[str, ...]:
    """The lists that a run reads; one's own images have none, and are read once."""
    if data.root is None:
        return (data.train_split,)
    scored = (data.val_split,) if data.val_split in _scored_splits(data) else ()
    return tuple(dict.fromkeys((data.train_split, data.mask_split, *scored)))
