"""The stages in their order: what `wsss run` and `wsss quickstart` do."""

from collections.abc import Sequence
from pathlib import Path

from wsss.config import RunConfig
from wsss.crf import make_crf
from wsss.data.masks import has_masks, true_masks
from wsss.data.open import open_masked, open_tagged
from wsss.engine.runtime import require_one_process
from wsss.errors import WsssError
from wsss.formats.voc import split_ids
from wsss.models.classifier import new_classifier
from wsss.models.multiscale import check_walks
from wsss.models.segmenter import build_segmenter, segmenter_metadata
from wsss.report.tables import show_ceiling, show_classes, show_summary
from wsss.run.state import config_of_round
from wsss.stages import (
    evaluate,
    generate_pseudo_masks,
    predict,
    report,
    supervised_baseline,
    train_cls,
    train_seg,
    visualize,
    voc_archive,
)


def run(config: RunConfig, overwrite: bool = False) -> Path:
    """Run every stage that isn't finished, score what has true masks, write the page.

    Args:
        config: of the run.
        overwrite: recompute every stage.

    Returns:
        The page with images and figures.
    """
    if config.round > 1:
        raise WsssError(
            f"{config.run} holds round {config.round} of a run, which `wsss run` starts from the "
            f"first: give {config_of_round(config, 1).run}, or do this round by `wsss train-seg`."
        )
    require_one_process()
    # before anything is trained: what would stop a later stage
    _check_crfs(config)
    class_names = _check_splits(config)
    _check_networks(config, class_names)
    train_cls.run(config, overwrite)
    generate_pseudo_masks.run(config)
    train_seg.run(config)
    later = [config_of_round(config, n) for n in range(2, config.self_training.rounds + 1)]
    for round_config in later:
        segmenter(round_config)
    root = config.data.root
    scored = root is not None and has_masks(root)
    if scored:
        predict.run_split(config)
        scores = [evaluate.run(config, kind) for kind in evaluate.KINDS]
        for round_config in later:
            predict.run_split(round_config)
            scores += [evaluate.run(round_config, kind) for kind in evaluate.KINDS[-2:]]
        show_summary(scores)
    # without true masks a VOC folder needs no list to score on
    visualize.run(config, split=None if scored or root is None else config.data.mask_split)
    return report.run(config)


def pseudo_masks(
    config: RunConfig, overwrite: bool = False, shard: tuple[int, int] = (0, 1)
) -> Path:
    """The pseudo-masks of the config's round: from seeds in the first, later by the segmenter."""
    return generate_pseudo_masks.run(config, overwrite, shard)


def segmenter(config: RunConfig, overwrite: bool = False) -> Path:
    """The segmenter of the config's round; a later round's pseudo-masks are made first."""
    if config.round > 1:
        generate_pseudo_masks.run(config, recomputed="train_seg" if overwrite else None)
    return train_seg.run(config, overwrite)


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
    if data.root is None or not has_masks(data.root):
        return tagged.class_names
    open_tagged(data, data.val_split)
    without = [id_ for id_ in split_ids(data.root, data.score_split) if id_ not in masked]
    if without:
        raise WsssError(
            f"{len(without)} images of data.score_split={data.score_split} get no pseudo-mask, "
            f"the first {without[0]}: choose a data.score_split within "
            f"data.mask_split={data.mask_split}, or raise data.mask_images."
        )
    return tagged.class_names


def score(config: RunConfig, of: str, split: str | None = None) -> Path:
    """Score one kind of mask, rewrite the page, show the classes; predictions are made first.

    Args:
        config: of the run.
        of: `cam`, `seeds`, `pseudo-masks` or `predictions`.
        split: list of images; None takes the config's.

    Returns:
        The file of the scores.
    """
    kind = evaluate.kind(of)
    true_masks(config.data)
    if kind == "predictions":
        predict.run_split(config, split)
    path = evaluate.run(config, kind, split)
    report.run(config)
    show_classes(path)
    return path


def score_beside_ceiling(config: RunConfig, split: str | None = None) -> Path:
    """Score predictions, and those of the fully supervised baseline, trained where missing.

    Args:
        config: of the run, whose segmenter is trained.
        split: list of images; None takes the config's.

    Returns:
        The file with both and their ratio, column by column.
    """
    require_one_process()
    split = split or config.data.val_split
    baseline = supervised_baseline.prepare(config)
    train_seg.run(baseline)
    for one in (config, baseline):
        predict.run_split(one, split)
        evaluate.run(one, "predictions", split)
    path = supervised_baseline.compare(config, split)
    report.run(config)
    show_ceiling(path)
    return path


def pack_voc_test(config: RunConfig, images: Path, out: Path | None = None) -> Path:
    """Segment images and pack their masks for VOC's server; returns the archive.

    Args:
        config: of the run; its `evaluate` part gives scales, flip and CRF.
        images: folder of the test images.
        out: the archive; `voc_test.tar.gz` of the run by default.
    """
    masks = predict.run(config, images)
    ids = [sample.id for sample in predict.find(images, masks)]
    return voc_archive.pack(masks, ids, out or config.run / "voc_test.tar.gz")
