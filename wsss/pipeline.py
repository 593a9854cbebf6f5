"""The stages in their order: what `wsss run` and `wsss quickstart` do."""

from pathlib import Path

from wsss.config import RunConfig
from wsss.crf import DenseCRF
from wsss.data.masks import has_masks
from wsss.data.sources import open_masked, open_tagged
from wsss.engine.runtime import require_one_process
from wsss.errors import WsssError
from wsss.models.segmenter import decoder_library
from wsss.report.tables import show_ceiling, show_classes, show_summary
from wsss.run_dir import RunDir
from wsss.stages import (
    ceiling,
    evaluate,
    generate_pseudo_masks,
    predict,
    report,
    train_cls,
    train_seg,
    visualize,
    voc_archive,
)
from wsss.voc import split_ids


def run(config: RunConfig, overwrite: bool = False) -> Path:
    """Run every stage that isn't finished, score what has true masks, write the page.

    Args:
        config: of the run.
        overwrite: do every stage again.

    Returns:
        The page with pictures and figures.
    """
    require_one_process()
    # before anything is trained: what would stop a later stage
    decoder_library()
    _check_crfs(config)
    _check_splits(config)
    RunDir.create(config, again="train_cls" if overwrite else None)
    train_cls.run(config)
    generate_pseudo_masks.run(config)
    train_seg.run(config)
    root = config.data.root
    scored = root is not None and has_masks(root)
    if scored:
        predict.run_split(config)
        show_summary([evaluate.run(config, kind) for kind in evaluate.KINDS])
    # without true masks a VOC folder needs no list to score on
    visualize.run(config, split=None if scored or root is None else config.data.mask_split)
    return report.run(config)


def _check_crfs(config: RunConfig) -> None:
    """Refuse a CRF that doesn't exist."""
    settings = config.evaluate
    for name in (config.pseudo_masks.crf, settings.crf, settings.test_crf):
        if name != "none":
            DenseCRF(name)


def _check_splits(config: RunConfig) -> None:
    """Refuse lists that don't exist, and those on which nothing could be scored in the end."""
    data = config.data
    masked = {picture.id for picture in open_masked(data, config.seed).pictures}
    if data.root is None or not has_masks(data.root):
        return
    open_tagged(data, data.val_split)
    without = [id_ for id_ in split_ids(data.root, data.score_split) if id_ not in masked]
    if without:
        raise WsssError(
            f"{len(without)} pictures of data.score_split={data.score_split} get no pseudo-mask, "
            f"the first {without[0]}: choose a data.score_split within "
            f"data.mask_split={data.mask_split}, or raise data.mask_pictures."
        )


def score(config: RunConfig, of: str, split: str | None = None) -> Path:
    """Score one kind of mask, write the page anew, show the classes; predictions are made first.

    Args:
        config: of the run.
        of: `cam`, `seeds`, `pseudo-masks` or `predictions`.
        split: list of pictures; None takes the config's.

    Returns:
        The file of the scores.
    """
    kind = evaluate.kind(of)
    evaluate.true_masks(config)
    if kind == "predictions":
        predict.run_split(config, split)
    path = evaluate.run(config, kind, split)
    report.run(config)
    show_classes(path)
    return path


def score_beside_ceiling(config: RunConfig, split: str | None = None) -> Path:
    """Score predictions, and those of the fully supervised twin, which is trained where missing.

    Args:
        config: of the run, whose segmenter is trained.
        split: list of pictures; None takes the config's.

    Returns:
        The file with both and their ratio, column by column.
    """
    require_one_process()
    split = split or config.data.val_split
    twin = ceiling.prepare(config)
    train_seg.run(twin)
    for one in (config, twin):
        predict.run_split(one, split)
        evaluate.run(one, "predictions", split)
    path = ceiling.compare(config, split)
    report.run(config)
    show_ceiling(path)
    return path


def pack_voc_test(config: RunConfig, images: Path, out: Path | None = None) -> Path:
    """Segment pictures and pack their masks for VOC's server; returns the archive.

    Args:
        config: of the run; its `evaluate` part gives scales, flip and CRF.
        images: folder of the test pictures.
        out: the archive; `voc_test.tar.gz` of the run by default.
    """
    masks = predict.run(config, images)
    ids = [picture.id for picture in predict.find(images, masks)]
    return voc_archive.pack(masks, ids, out or config.run / "voc_test.tar.gz")
