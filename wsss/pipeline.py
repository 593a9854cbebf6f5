"""The stages in their order: what `wsss run` and `wsss quickstart` do."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from wsss import preflight
from wsss.config import RunConfig
from wsss.data.images import TaggedDataset
from wsss.data.masks import require_truth, with_truth
from wsss.data.open import open_tagged
from wsss.engine.runtime import join
from wsss.errors import WsssError
from wsss.files import write_text
from wsss.report.protocols import check_classes, protocol_page
from wsss.report.tables import show_ceiling, show_classes, show_summary, show_tuning
from wsss.run.recipe import as_begun
from wsss.run.state import Run, config_of_round
from wsss.stages import (
    evaluate,
    generate_pseudo_masks,
    predict,
    report,
    supervised_baseline,
    train_cls,
    train_seg,
    tune,
    visualize,
    voc_archive,
)


def run(config: RunConfig, overwrite: bool = False) -> Path:
    """Run every stage that isn't finished, score what has true masks, write the page.

    Walks and border for one's own images are chosen as `tune` does without masks, unless named.

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
    team = join()
    choosing = config.leaves_walks_open
    if not overwrite:
        config = as_begun(config)
    team.once(lambda: preflight.check(config, overwrite))
    train_cls.run(config, overwrite)
    if choosing:
        config = team.once(lambda: _with_chosen_walks(config))
    generate_pseudo_masks.run(config)
    train_seg.run(config)
    later = [config_of_round(config, n) for n in range(2, config.self_training.rounds + 1)]
    for round_config in later:
        segmenter(round_config)
    kinds = team.once(lambda: preflight.scored_kinds(config.data))
    ids = _scored(config, config.data.val_split) if "predictions" in kinds else None
    if "predictions" in kinds:
        predict.run_split(config, ids=ids)
    scores = evaluate.run_all(config, kinds)
    for round_config in later:
        if "predictions" in kinds:
            predict.run_split(round_config, ids=ids)
        scores += [
            evaluate.run(round_config, kind) for kind in kinds if kind in evaluate.ROUND_KINDS
        ]
    # without ground truth a VOC folder needs no list to score on
    unscored = config.data.root is not None and "seeds" not in kinds

    def show() -> Path:
        if scores:
            show_summary(scores)
        for one in (config, *later):
            visualize.run(one, split=config.data.mask_split if unscored else None)
            page = report.run(one)
        _say_what_is_next(config, later)
        return page

    return team.once(show)


def _say_what_is_next(config: RunConfig, later: Sequence[RunConfig]) -> None:
    """Where the last round lies, or what makes better masks of one's own images."""
    if later:
        print(f"masks and model of round {later[-1].round}: {later[-1].run}", file=sys.stderr)
    elif config.data.images is not None and not any(Run(config.run).later_rounds()):
        again = f"wsss train-seg {shlex.quote(str(config.run))} --round 2"
        print(f"better masks, from segmenter and seeds together: {again}", file=sys.stderr)


def _with_chosen_walks(config: RunConfig) -> RunConfig:
    run = Run(config.run)
    if run.settings("pseudo_masks").is_file():  # begun, with what the config says
        return config
    chosen = tune.without_masks(config)
    show_tuning(run.tuning)
    return config.model_copy(update={"pseudo_masks": chosen})


def _scored(config: RunConfig, split: str, tagged: TaggedDataset | None = None) -> set[str] | None:
    """Ids of the images whose predictions are scored, where only some images have a true mask."""
    if config.data.masks is None:
        return None
    tagged = tagged or open_tagged(config.data, split)
    return {sample.id for sample in with_truth(config.data, tagged).samples}


def tuned_masks(config: RunConfig, trusted: Path | None = None, keep: bool = False) -> Path:
    """Choose the recipe of the pseudo-masks on trusted masks, and make them by it.

    Args:
        config: of the run.
        trusted: folder of the trusted masks; the run's own by default.
        keep: choose and show, but leave settings and masks as they are.

    Returns:
        The file of what was compared.
    """
    team = join()
    settings, path = team.once(lambda: tune.run(config, trusted))
    team.once(lambda: show_tuning(path))
    other = settings != config.pseudo_masks
    run = Run(config.run)
    # of a start that was killed while it made masks the settings are kept already
    unfinished = run.settings("pseudo_masks").is_file() and not run.finished("pseudo_masks")
    if (other or unfinished) and not keep:
        tuned = config.model_copy(update={"pseudo_masks": settings})
        generate_pseudo_masks.run(tuned, overwrite=other)
    return path


def segmenter(config: RunConfig, overwrite: bool = False) -> Path:
    """The segmenter of the config's round; a later round's pseudo-masks are made first."""
    if config.round > 1:
        join().once(lambda: preflight.check_segmenter(config, overwrite))
        generate_pseudo_masks.run(config, recomputed="train_seg" if overwrite else None)
    return train_seg.run(config, overwrite)


def score(
    config: RunConfig, of: str, split: str | None = None, protocol: str | None = None
) -> Path:
    """Score one kind of mask, rewrite the page, show the classes; predictions are made first.

    Args:
        config: of the run.
        of: `cam`, `seeds`, `pseudo-masks` or `predictions`.
        split: list of images; None takes the config's.
        protocol: in whose form the scores are printed, beside them.

    Returns:
        The file of the scores, or of those in the form of the protocol.
    """
    with join().together():
        kind = evaluate.kind(of)
        require_truth(config.data)
        split = split or evaluate.split_of(config.data, kind)
        tagged = open_tagged(config.data, split)
        if protocol is not None:
            check_classes(protocol, len(tagged.class_names) + 1)
    join().once(lambda: preflight.check_truth(config.data, [split], [tagged]))
    if kind == "predictions":
        predict.run_split(config, split, _scored(config, split, tagged))
    path = evaluate.run(config, kind, split)
    page = path if protocol is None else path.with_name(f"{path.stem}.{protocol}.md")

    def show() -> None:
        report.run(config)
        if protocol is None:
            show_classes(path)
        else:
            text = protocol_page(protocol, json.loads(path.read_text()))
            print(text, file=sys.stderr)
            write_text(page, text)

    join().once(show)
    return page


def score_beside_ceiling(config: RunConfig, split: str | None = None) -> Path:
    """Score predictions, and those of the fully supervised baseline, trained where missing.

    Args:
        config: of the run, whose segmenter is trained.
        split: list of images; None takes the config's.

    Returns:
        The file with both and their ratio, column by column.
    """
    team = join()
    split = split or config.data.val_split
    with team.together():
        tagged = open_tagged(config.data, split)
    team.once(lambda: preflight.check_truth(config.data, [split], [tagged]))
    ids = _scored(config, split, tagged)
    baseline = team.once(lambda: supervised_baseline.prepare(config))
    train_seg.run(baseline)
    for one in (config, baseline):
        predict.run_split(one, split, ids)
        evaluate.run(one, "predictions", split)

    def show() -> Path:
        path = supervised_baseline.compare(config, split)
        report.run(config)
        show_ceiling(path)
        return path

    return team.once(show)


def pack_voc_test(config: RunConfig, images: Path, out: Path | None = None) -> Path:
    """Segment images and pack their masks for VOC's server; returns the archive.

    Args:
        config: of the run; its `evaluate` part gives scales, flip and CRF.
        images: folder of the test images.
        out: the archive; `voc_test.tar.gz` of the run by default.
    """
    masks = predict.run(config, images)

    def pack() -> Path:
        samples, _ = predict.find(images, masks)
        ids = [sample.id for sample in samples]
        return voc_archive.pack(masks, ids, out or config.run / "voc_test.tar.gz")

    return join().once(pack)
