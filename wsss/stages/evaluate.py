"""Scoring: masks of a run against true masks, one confusion matrix over a whole split.

Opens true masks, which no stage that makes masks does. Reads seeds (or the classifier that makes
them), pseudo-masks or predictions of a run; writes `evaluation/<of>_<split>.json` and, of
predictions, `evaluation/confusion_<split>.csv` and the images `report/confusion_<split>.png` and
`report/worst_<split>.png`.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from wsss.config import DataConfig, RunConfig
from wsss.config.schema import PredictConfig, SeedsConfig, ViewsConfig
from wsss.data.coco_truth import about_masks
from wsss.data.given_masks import GivenMasks
from wsss.data.images import Sample, TaggedDataset
from wsss.data.mask_io import read_mask
from wsss.data.masks import (
    mask_path,
    read_pair,
    read_target,
    require_truth,
    true_masks,
    with_truth,
)
from wsss.data.open import open_tagged
from wsss.engine.inference import Loaded, Steps, dealt, process
from wsss.engine.progress import track
from wsss.engine.runtime import Runtime, join, start
from wsss.errors import WsssError
from wsss.files import names_below, write_atomic, write_json, write_text
from wsss.labels import BACKGROUND
from wsss.metrics.confusion import ConfusionMatrix
from wsss.metrics.split_scores import SplitScores, summary
from wsss.metrics.threshold_sweep import ThresholdSweep
from wsss.models.gate import has_thresholds
from wsss.models.soft_seeds import RunSeeds, SoftSeeds
from wsss.report.columns import percent
from wsss.report.confusion import confusion_csv, confusion_image
from wsss.report.failures import against_tags
from wsss.report.sheet import Caption, contact_sheet, mask_over
from wsss.run.state import Run
from wsss.seeding.cam import resize
from wsss.seeding.masks import seed_mask
from wsss.seeding.walks import Walk

Kind = Literal["cam", "seeds", "pseudo-masks", "predictions"]
KINDS: tuple[Kind, ...] = ("cam", "seeds", "pseudo-masks", "predictions")
ROUND_KINDS = KINDS[-2:]  # a self-training round has no seeds of its own
_SOFT: dict[Kind, Literal["cam", "seed"]] = {"cam": "cam", "seeds": "seed"}
WORST = 12  # images on the sheet of the worst
SWEEP = tuple(round(0.05 * k, 2) for k in range(1, 20))


def run(config: RunConfig, of: Kind, split: str | None = None) -> Path:
    """Score one kind of mask; returns the path of the scores.

    Args:
        config: of the run.
        of: `cam` (class activation alone), `seeds` (through the slots), `pseudo-masks` or
            `predictions`.
        split: list of images; by default `data.val_split` for predictions, else
            `data.score_split`.
    """
    return _score(config, (of,), split)[0]


def run_all(config: RunConfig, kinds: Sequence[Kind]) -> list[Path]:
    """Score several kinds of masks, those of the seeds in one pass; returns the paths."""
    soft = tuple(of for of in kinds if of in _SOFT)
    paths = _score(config, soft, None) if soft else []
    return [*paths, *(run(config, of) for of in kinds if of not in _SOFT)]


def _score(config: RunConfig, kinds: Sequence[Kind], split: str | None) -> list[Path]:
    """Score one kind of mask, or both of the seeds."""
    of, team = kinds[0], join()
    with team.together():
        require_truth(config.data)
        split = split or split_of(config.data, of)
        runtime = start(config.runtime, config.seed)
        tagged = with_truth(config.data, open_tagged(config.data, split))
    team.require_equal(tagged.digest, f"The split {split} of {config.data.root}")
    root = team.once(partial(true_masks, config.data, split, tagged, track))
    run = Run(config.run)
    if of in _SOFT:
        found = _score_seeds(config, runtime, tagged, root, [_SOFT[kind] for kind in kinds])
    elif of == "pseudo-masks":
        masks = [run.pseudo_mask(p.id) for p in tagged.samples]
        found = [_score_masks(config, tagged, root, [masks])[0].summary()]
    else:
        team.once(partial(_warn_of_training_images, config, run, tagged))
        found = [_score_predictions(config, run, tagged, root, split)]
    paths = []
    for kind, scores in zip(kinds, found, strict=True):
        path = run.evaluation(kind, split)
        protocol = {**_protocol(config, run, kind), **about_masks(root)}
        whole = {"of": kind, "split": split, **scores, "protocol": protocol}
        team.once(partial(write_json, path, whole))
        paths.append(path)
    return paths


def _warn_of_training_images(config: RunConfig, run: Run, tagged: TaggedDataset) -> None:
    """Say how many of the images that predictions are scored on were trained on."""
    masks, learnt = "trusted masks", 0
    if config.data.trusted is not None:
        learnt = len(GivenMasks(config.data.trusted, tagged).samples)
    if not learnt:
        masks = "true masks" if run.has_ground_truth else "pseudo-masks"
        made = names_below(run.pseudo_masks, ".png")
        learnt = sum(sample.id in made for sample in tagged.samples)
    if learnt:
        print(
            f"warning: the segmenter learnt from {masks} of {learnt} of the {len(tagged)} "
            "images that its predictions are scored on: the figures flatter it",
            file=sys.stderr,
        )


def split_of(data: DataConfig, of: Kind) -> str:
    """The list that a kind of mask is scored on, unless another one is asked for."""
    return data.val_split if of == "predictions" else data.score_split


def kind(name: str) -> Kind:
    """A kind of mask by its name.

    Raises:
        WsssError: there is none of that name.
    """
    for known in KINDS:
        if name == known:
            return known
    raise WsssError(f"--of is {name!r}: expected one of {', '.join(KINDS)}.")


def _score_masks(
    config: RunConfig, tagged: TaggedDataset, root: Path, masks: Sequence[Sequence[Path]]
) -> list[SplitScores]:
    """Every column of masks, each in the order of the images, in one pass over the targets."""
    team = join()
    for paths in masks:
        team.once(partial(_require, paths))
    background = config.data.background
    columns = [SplitScores(tagged.class_names, _unsure(config)) for _ in masks]
    for i in dealt(range(len(tagged)), team, "evaluate"):
        sample = tagged.samples[i]
        target = read_target(sample.path, mask_path(root, sample.id), background)
        for column, paths in zip(columns, masks, strict=True):
            column.update(target, read_mask(paths[i]), i)
    for column in columns:
        team.add_up(*column.counts)
        for others in team.others(column.mious):
            column.mious |= others
    return columns


def _score_predictions(
    config: RunConfig, run: Run, tagged: TaggedDataset, root: Path, split: str
) -> dict[str, Any]:
    """The scores of the config's own scales, flip and CRF, and beside them every column's."""
    folders = run.columns(config.evaluate, split)
    masks = {
        name: [folder / f"{p.id}.png" for p in tagged.samples] for name, folder in folders.items()
    }
    found = _score_masks(config, tagged, root, list(masks.values()))
    columns = dict(zip(masks, found, strict=True))
    modes = config.evaluate.columns()
    own = next(name for name, mode in modes.items() if mode == config.evaluate.own)
    matrix, names = columns[own].confusion.matrix, columns[own].names
    worst = columns[own].worst(WORST)

    def draw() -> None:
        write_text(run.confusion(split), confusion_csv(matrix, names))
        write_atomic(run.report / f"confusion_{split}.png", confusion_image(matrix, names).save)
        mious = {i: columns[own].mious[i] for i in worst}
        _draw_worst(run, split, tagged, mious, folders[own], root)

    join().once(draw)
    return {
        **columns[own].summary(),
        "columns": {
            name: {**column.summary(), **modes[name]._asdict()} for name, column in columns.items()
        },
        "worst": {tagged.samples[i].id: columns[own].mious[i] for i in worst},
    }


def _draw_worst(
    run: Run, split: str, tagged: TaggedDataset, worst: Mapping[int, float], masks: Path, root: Path
) -> None:
    rows, captions = [], []
    for i, miou in worst.items():
        sample = tagged.samples[i]
        image, target = read_pair(sample.path, mask_path(root, sample.id))
        pred = read_mask(masks / f"{sample.id}.png")
        rows.append([image, mask_over(pred, image), mask_over(target, image)])
        wrong = against_tags(pred, sample.tags, tagged.class_names)
        note = f"mIoU {percent(miou)} %" + (f"; {wrong}" if wrong else "")
        captions.append(Caption(sample.id, [tagged.class_names[t] for t in sample.tags], note))
    sheet = contact_sheet(rows, ("image", "prediction", "truth"), captions, width=240)
    write_atomic(run.report / f"worst_{split}.png", sheet.save)


def _score_seeds(
    config: RunConfig,
    runtime: Runtime,
    tagged: TaggedDataset,
    root: Path,
    keys: Sequence[Literal["cam", "seed"]],
) -> list[dict[str, Any]]:
    """Scores of the class activation or the seeds, or both, of images in one pass."""
    rule, background = config.pseudo_masks.background, config.data.background
    names, team = (BACKGROUND, *tagged.class_names), runtime.team
    seeds = RunSeeds(config, tagged.class_names, runtime)
    levels = config.pseudo_masks.levels_by_value(tagged.class_names)
    with team.together():
        seeds.require(tagged.samples)
    matrices = [ConfusionMatrix(len(names), unsure=_unsure(config)) for _ in keys]
    sweeps = [ThresholdSweep(len(names), SWEEP) for _ in keys]

    def read(sample: Sample) -> _Scored:
        target = read_target(sample.path, mask_path(root, sample.id), background)
        return _Scored(target, seeds.read(sample))

    def count(batch: list[_Scored]) -> list[_Scored]:
        for one, soft in zip(batch, seeds.of([one.given for one in batch]), strict=True):
            target, size = one.target, (one.target.shape[0], one.target.shape[1])
            labels = torch.tensor(soft.labels, dtype=torch.uint8)
            for key, confusion, sweep in zip(keys, matrices, sweeps, strict=True):
                maps = (soft.cam if key == "cam" else soft.seed).float()
                above = soft.above(maps, rule, size, {} if key == "cam" else levels)
                confusion.update(target, seed_mask(above, labels, background))
                sweep.update(target, resize(maps[None], size)[0], labels)
        return batch

    # counted where it is computed: counts are not for several threads
    steps: Steps[Sample, _Scored, _Scored] = Steps(
        read, lambda one: one.shape, count, lambda one: None
    )
    process(tagged.samples, steps, runtime, "evaluate")
    found = []
    for confusion, sweep in zip(matrices, sweeps, strict=True):
        team.add_up(*confusion.counts, *sweep.counts)
        scores = {**summary(confusion, names), "images": len(tagged)}
        # without background there is nothing to part from by a threshold
        found.append({**scores, **(_oracle(sweep) if background else {})})
    return found


class _Scored(NamedTuple):
    """A true mask (H, W), and the seeds of its image or the image that they are made of."""

    target: NDArray[np.uint8]
    given: SoftSeeds | Loaded

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the image; none where the seeds are kept."""
        return self.given.image.shape if isinstance(self.given, Loaded) else ()


def _oracle(sweep: ThresholdSweep) -> dict[str, Any]:
    """The best threshold; nothing for ground truth of void alone."""
    threshold, miou = sweep.best()
    return {} if np.isnan(miou) else {"oracle": {"threshold": threshold, "miou": miou}}


def _unsure(config: RunConfig) -> Literal["background", "wrong"]:
    """What a predicted 255 counts as: an error where there is no background to count it as."""
    return config.evaluate.unsure if config.data.background else "wrong"


def _require(paths: Sequence[Path]) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise WsssError(
            f"{len(missing)} of {len(paths)} files to score are missing, the first {missing[0]}: "
            "run the stage that makes them, on a split that holds these images."
        )


def _protocol(config: RunConfig, run: Run, of: Kind) -> dict[str, Any]:
    """What a figure depends on; for masks, the settings that they were made with."""
    stage = "train_seg" if of == "predictions" else "pseudo_masks"
    made = run.made_with(stage, config)
    ignored = 255 if config.data.background else [0, 255]
    common = {"ignored": ignored, "resolution": "original", "seed": made["seed"]}
    if config.round > 1:
        common["round"] = config.round
    if of == "predictions":
        settings = config.evaluate.model_dump(mode="json", include=set(PredictConfig.model_fields))
        settings["gate"] &= has_thresholds(Run.of_round(config, 1).model("train_cls"))
        return {**common, "tags": "not given", **settings}
    common["tags"] = "given"
    unsure = {"unsure": _unsure(config)}
    if of == "pseudo-masks" and config.round > 1:
        return {**common, **made["self_training"], **unsure}
    masks = dict(made["pseudo_masks"])
    masks["walks"] = [_told(walk) for walk in masks["walks"]]
    if of == "pseudo-masks":
        return {**common, **masks, **unsure}
    kept = {key: masks[key] for key in (ViewsConfig if of == "cam" else SeedsConfig).model_fields}
    # the threshold is none of the soft seeds', but of this scoring
    rule: dict[str, Any] = {"background": config.pseudo_masks.background, "crf": "none"}
    if of == "seeds":
        rule["levels"] = config.pseudo_masks.levels
    return {**common, **kept, **rule}


def _told(walk: dict[str, Any]) -> dict[str, Any]:
    """What of a walk is not the default."""
    known = Walk.__dataclass_fields__
    return {k: v for k, v in walk.items() if k not in known or v != known[k].default}
