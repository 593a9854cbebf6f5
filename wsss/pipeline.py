"""The stages in their order: what `wsss run` and `wsss quickstart` do."""

from pathlib import Path

from wsss.config import RunConfig
from wsss.data.masks import has_masks
from wsss.engine.runtime import require_one_process
from wsss.report.tables import show_classes, show_summary
from wsss.run_dir import RunDir
from wsss.stages import (
    evaluate,
    generate_pseudo_masks,
    predict,
    report,
    train_cls,
    train_seg,
    visualize,
)


def run(config: RunConfig, overwrite: bool = False) -> Path:
    """Run every stage that isn't finished, score what has true masks, write the page.

    Args:
        config: of the run.
        overwrite: do every stage again.

    Returns:
        The page with pictures and figures.
    """
    require_one_process()
    if overwrite:
        RunDir(config.run).reset("train_cls")
    RunDir.create(config)
    train_cls.run(config, overwrite)
    generate_pseudo_masks.run(config, overwrite)
    train_seg.run(config, overwrite)
    root = config.data.root
    if root is not None and has_masks(root):
        predict.run_split(config, overwrite=overwrite)
        show_summary([evaluate.run(config, kind) for kind in evaluate.KINDS])
    visualize.run(config)
    return report.run(config)


def score(config: RunConfig, of: str, split: str | None = None) -> Path:
    """Score one kind of mask of a run and show the table by class; predictions are made first.

    Args:
        config: of the run.
        of: `cam`, `seeds`, `pseudo-masks` or `predictions`.
        split: list of pictures; None takes the config's.

    Returns:
        The file of the scores.
    """
    kind = evaluate.kind(of)
    if kind == "predictions":
        predict.run_split(config, split)
    path = evaluate.run(config, kind, split)
    show_classes(path)
    return path
